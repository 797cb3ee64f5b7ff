"""A plan as one self-contained SVG picture, in light or dark as its reader prefers.

Shapes are coloured by what a node is; dashed arrows set something going, the others carry values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from treadle.plan.layout import Layout, Link, Rectangle, Size, arrange
from treadle.plan.sketch import Edge, Sketch, Vertex

MARGIN: Final = 24.0

_FONT: Final = "ui-sans-serif, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

_COLOURS: Final = {
    # shape: light fill, light line, dark fill, dark line
    "agent": ("#f3eeff", "#7c4ddb", "#2b2145", "#b79cff"),
    "tool": ("#fff3e2", "#c06d00", "#3b2a12", "#f2b261"),
    "node": ("#eef2f7", "#51657e", "#232c38", "#a3b6cc"),
    "retriever": ("#e3f6f3", "#0b7f72", "#10332f", "#5fd1c2"),
    "human": ("#ffecf0", "#c22f56", "#3d1a25", "#ff91ab"),
    "choice": ("#fffbe0", "#927500", "#363010", "#e3ca52"),
    "input": ("#ffffff", "#57606a", "#161b22", "#8b949e"),
    "result": ("#dcf5e3", "#1a7f37", "#12351d", "#56d374"),
    "expression": ("#ffffff", "#8c959f", "#161b22", "#6e7681"),
    "constant": ("#ffffff", "#8c959f", "#161b22", "#6e7681"),
    "join": ("#ffffff", "#8c959f", "#161b22", "#6e7681"),
    "repeat": ("#ffffff", "#8c959f", "#161b22", "#6e7681"),
}

_THEMES: Final = (
    # page, box, box line, words, quiet words, arrows, quiet arrows
    ("#ffffff", "#f6f8fa", "#d0d7de", "#1f2328", "#59636e", "#6e7781", "#b6bec7"),
    ("#0d1117", "#151b23", "#3d444d", "#f0f6fc", "#9198a1", "#9198a1", "#545d68"),
)


def _style() -> str:
    return f"{_rules(0)}\n@media (prefers-color-scheme: dark) {{\n{_rules(1)}\n}}"


def _rules(theme: int) -> str:
    page, box, box_line, words, quiet, arrow, quiet_arrow = _THEMES[theme]
    rules = [
        f".page {{ fill: {page} }} .box {{ fill: {box}; stroke: {box_line} }}",
        f".title {{ fill: {words} }} .note, .label, .name {{ fill: {quiet} }} .under {{ fill: {page} }}",
        f".value, .demand {{ stroke: {arrow} }} .input-line {{ stroke: {quiet_arrow} }}",
        f".head {{ fill: {arrow} }} .quiet-head {{ fill: {quiet_arrow} }}",
    ]
    for shape, colours in _COLOURS.items():
        fill, line = colours[theme * 2 : theme * 2 + 2]
        rules.append(f".{shape} {{ fill: {fill}; stroke: {line} }}")
    return "\n".join(rules)


def text_width(text: str, *, size: float, bold: bool = False) -> float:
    """Estimate how wide a text is in a sans-serif font, in pixels, on the safe side.

    Widths in thousandths of the font size, after Helvetica's metrics.
    """
    total = sum(_WIDTHS.get(letter, 720 if letter.isupper() else 560) for letter in text)
    return total / 1000 * size * (1.1 if bold else 1.03)


_WIDTHS: Final = {
    **dict.fromkeys("ijl|'.,:;!", 270),
    **dict.fromkeys(" ftrI()[]/-", 340),
    **dict.fromkeys("mwMW@…", 860),
}


def _size(vertex: Vertex) -> Size:
    title = text_width(vertex.title, size=13, bold=True)
    note = text_width(vertex.note, size=11)
    if vertex.shape == "join":
        return Size(width=max(14.0, text_width(vertex.title, size=11) + 18), height=18.0, box=vertex.scope)
    if vertex.shape == "choice":
        return Size(width=title + 52, height=36.0, box=vertex.scope)
    if vertex.shape in {"input", "result", "expression", "constant"}:
        return Size(width=title + 32, height=30.0, box=vertex.scope)
    return Size(width=max(title, note) + 34, height=46.0, box=vertex.scope)


def svg(sketch: Sketch) -> str:
    """Draw a sketch as an SVG document."""
    links = [
        Link(
            source=e.source, target=e.target, label_width=text_width(e.label, size=11) + 10 if e.label else 0
        )
        for e in sketch.edges
    ]
    sizes = {vertex.id: _size(vertex) for vertex in sketch.vertices}
    layout = arrange(sizes, links, {scope.id: scope.parent for scope in sketch.scopes})
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="{_FONT}">',
        f"<title>{escape(sketch.name)}</title>",
        f"<style>\n{_style()}\n</style>",
        _MARKERS,
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="12"/>',
        f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">',
        *_boxes(sketch, layout),
        *_arrows(sketch, layout, sizes),
        *_shapes(sketch, layout, sizes),
        *_labels(sketch, layout),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


_MARKERS: Final = "<defs>" + "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path class="{name}" d="M0 0.8 L8 4 L0 7.2 Z"/></marker>'
    for name in ("head", "quiet-head")
) + "</defs>"  # fmt: skip


def _boxes(sketch: Sketch, layout: Layout) -> Iterator[str]:
    for scope in sketch.scopes:
        if scope.id in layout.boxes:
            box = layout.boxes[scope.id]
            yield _rect("box", box, radius=10)
            yield (
                f'<text class="name" x="{box.x + 12:.1f}" y="{box.y + 19:.1f}" font-size="11" '
                f'font-weight="600">{escape(scope.id.rpartition("/")[2])}</text>'
            )


def _rect(name: str, place: Rectangle, *, radius: float) -> str:
    return (
        f'<rect class="{name}" x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" '
        f'height="{place.height:.1f}" rx="{radius:.0f}" stroke-width="1.2"/>'
    )


def _shapes(sketch: Sketch, layout: Layout, sizes: dict[str, Size]) -> Iterator[str]:
    for vertex in sketch.vertices:
        x, y = layout.centres[vertex.id]
        size = sizes[vertex.id]
        place = Rectangle(x=x - size.width / 2, y=y - size.height / 2, width=size.width, height=size.height)
        yield _outline(vertex, place)
        yield from _words(vertex, x, y)


def _outline(vertex: Vertex, place: Rectangle) -> str:
    if vertex.shape != "choice":
        round_ends = vertex.shape in {"input", "result", "join", "repeat"}
        return _rect(vertex.shape, place, radius=place.height / 2 if round_ends else 8)
    left, right, middle = place.x, place.x + place.width, place.y + place.height / 2
    return (
        f'<path class="choice" stroke-width="1.2" stroke-linejoin="round" d="M{left:.1f} {middle:.1f} '
        f"L{left + 16:.1f} {place.y:.1f} H{right - 16:.1f} L{right:.1f} {middle:.1f} "
        f'L{right - 16:.1f} {place.y + place.height:.1f} H{left + 16:.1f} Z"/>'
    )


def _words(vertex: Vertex, x: float, y: float) -> Iterator[str]:
    if not vertex.title:
        return
    quiet = vertex.shape in {"join", "expression", "constant"}
    style = 'class="note" font-size="11"' if quiet else 'class="title" font-size="13" font-weight="600"'
    title_y = y - 2.5 if vertex.note else y + (3.8 if quiet else 4.5)
    yield f'<text {style} x="{x:.1f}" y="{title_y:.1f}" text-anchor="middle">{escape(vertex.title)}</text>'
    if vertex.note:
        yield (
            f'<text class="note" font-size="11" x="{x:.1f}" y="{y + 13.5:.1f}" '
            f'text-anchor="middle">{escape(vertex.note)}</text>'
        )


def _arrows(sketch: Sketch, layout: Layout, sizes: dict[str, Size]) -> Iterator[str]:
    leaving = _ports(sketch.edges, layout, sizes, at_source=True)
    arriving = _ports(sketch.edges, layout, sizes, at_source=False)
    order = sorted(range(len(sketch.edges)), key=lambda index: sketch.edges[index].style != "input")
    for index in order:
        edge = sketch.edges[index]
        top, bottom = sizes[edge.source].height / 2, sizes[edge.target].height / 2
        points = list(layout.lines[index])
        points[0] = (leaving[index], points[0][1] + top)
        points[-1] = (arriving[index], points[-1][1] - bottom - 1)
        name = "input-line" if edge.style == "input" else edge.style
        head = "quiet-head" if edge.style == "input" else "head"
        dashes = ' stroke-dasharray="5 4"' if edge.style == "demand" else ""
        yield (
            f'<path class="{name}" fill="none" stroke-width="1.4"{dashes} '
            f'd="{_curve(points)}" marker-end="url(#{head})"/>'
        )


def _ports(
    edges: Sequence[Edge], layout: Layout, sizes: dict[str, Size], *, at_source: bool
) -> dict[int, float]:
    """Give each edge its own x on the side of its vertex, in the order of where the edges go."""
    groups: dict[str, list[int]] = {}
    for index, edge in enumerate(edges):
        groups.setdefault(edge.source if at_source else edge.target, []).append(index)
    ports: dict[int, float] = {}
    for vertex, group in groups.items():
        group.sort(key=lambda index: layout.lines[index][1 if at_source else -2][0])
        x = layout.centres[vertex][0]
        step = min(16.0, (sizes[vertex].width - 24) / max(1, len(group) - 1))
        for position, index in enumerate(group):
            ports[index] = x + max(0.0, step) * (position - (len(group) - 1) / 2)
    return ports


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line through points that leaves and arrives vertically and never swings out.

    Slopes at the bends are harmonic means (Fritsch and Butland 1984), so x stays monotone between them.
    """
    runs = [(b[0] - a[0]) / max(b[1] - a[1], 1.0) for a, b in pairwise(points)]
    bends = [2 * a * b / (a + b) if a * b > 0 else 0.0 for a, b in pairwise(runs)]
    slopes = [0.0, *bends, 0.0]
    x, y = points[0]
    parts = [f"M{x:.1f} {y:.1f}"]
    for (next_x, next_y), (leaving, arriving) in zip(points[1:], pairwise(slopes), strict=True):
        third = (next_y - y) / 3 if leaving or arriving else (next_y - y) / 2
        parts.append(
            f"C{x + leaving * third:.1f} {y + third:.1f} "
            f"{next_x - arriving * third:.1f} {next_y - third:.1f} {next_x:.1f} {next_y:.1f}"
        )
        x, y = next_x, next_y
    return " ".join(parts)


def _labels(sketch: Sketch, layout: Layout) -> Iterator[str]:
    for index, (x, y) in layout.labels.items():
        label = sketch.edges[index].label
        width = text_width(label, size=11) + 6
        place = Rectangle(x=x - width / 2, y=y - 8, width=width, height=16)
        yield (
            f'<rect class="under" x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" '
            f'height="{place.height:.1f}" rx="4" opacity="0.88"/>'
            f'<text class="label" font-size="11" x="{x:.1f}" y="{y + 4:.1f}" '
            f'text-anchor="middle">{escape(label)}</text>'
        )
