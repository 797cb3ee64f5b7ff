"""Where the vertices of a layered drawing stand: pure geometry, top to bottom, in pixels.

Layers by longest path (Sugiyama, Tagawa, Toda 1981); order within a layer by sweeps of barycentres,
with the members of a box kept side by side; x by coordinate descent under difference constraints, in
which each box contributes its left and right side as two variables, so that boxes never overlap what
is not theirs.  Edges are bent at one point in each layer they pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 12
ROUNDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Width and height of a vertex, and the box it stands in (``""`` for none)."""

    width: float
    height: float
    box: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An edge to be laid out; ``label_width`` keeps room for its label (0: none)."""

    source: str
    target: str
    label_width: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Distances: between neighbours, layers, and inside a box around its members."""

    between: float = 26.0
    line: float = 14.0
    layer: float = 50.0
    label: float = 22.0
    box: float = 16.0
    box_title: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Centres of vertices, rectangles of boxes, and for each link its points from top to bottom.

    Attributes:
        labels: Centres of the labels, by index of the link.
    """

    centres: Mapping[str, tuple[float, float]]
    boxes: Mapping[str, Rectangle]
    lines: Sequence[Sequence[tuple[float, float]]]
    labels: Mapping[int, tuple[float, float]]
    width: float
    height: float


def arrange(
    sizes: Mapping[str, Size], links: Sequence[Link], parents: Mapping[str, str], *, gaps: Gaps | None = None
) -> Layout:
    """Lay out an acyclic graph.

    Args:
        sizes: The vertices by id, in an order that breaks ties.
        links: The edges; every one of them points down.
        parents: The boxes, outer ones first, each with the box around it (``""`` for none).
        gaps: Distances, or ``None`` for the usual ones.
    """
    return _Arrangement(sizes=sizes, links=links, parents=parents, gaps=gaps or Gaps()).solve()


@dataclass
class _Arrangement:
    """Vertices stand in even layers, labels and bends in every layer between."""

    sizes: Mapping[str, Size]
    links: Sequence[Link]
    parents: Mapping[str, str]
    gaps: Gaps
    cells: dict[str, Size] = field(default_factory=dict[str, Size])
    layer_of: dict[str, int] = field(default_factory=dict[str, int])
    above: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list[str]))
    below: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list[str]))
    chains: list[list[str]] = field(default_factory=list[list[str]])
    label_cells: dict[int, str] = field(default_factory=dict[int, str])

    def solve(self) -> Layout:
        self._layer()
        self._chain()
        self._span_boxes()
        layers = self._order()
        x = self._columns(layers)
        self._rows(layers)
        return self._finish(x)

    # Layers

    def _layer(self) -> None:
        ahead: dict[str, list[str]] = defaultdict(list)
        behind: dict[str, list[str]] = defaultdict(list)
        for link in self.links:
            ahead[link.source].append(link.target)
            behind[link.target].append(link.source)
        order = _topological(list(self.sizes), ahead, behind)
        for name in order:
            self.layer_of[name] = max((self.layer_of[one] + 2 for one in behind[name]), default=0)
        for name in reversed(order):  # what has nothing above it stands just above who needs it
            if not behind[name] and ahead[name]:
                self.layer_of[name] = min(self.layer_of[one] for one in ahead[name]) - 2

    def _chain(self) -> None:
        self.cells.update(self.sizes)
        for index, link in enumerate(self.links):
            first, last = self.layer_of[link.source], self.layer_of[link.target]
            labelled = first + 1 if link.label_width else -1
            bends = [
                self._bend(index, layer, has_label=layer == labelled) for layer in range(first + 1, last)
            ]
            chain = [link.source, *bends, link.target]
            self.chains.append(chain)
            for upper, lower in pairwise(chain):
                self.below[upper].append(lower)
                self.above[lower].append(upper)

    def _bend(self, index: int, layer: int, *, has_label: bool) -> str:
        link = self.links[index]
        name = f"{index}@{layer}"
        shared = self._shared_box(self.sizes[link.source].box, self.sizes[link.target].box)
        self.cells[name] = Size(
            width=link.label_width if has_label else 0.0,
            height=self.gaps.label if has_label else 0.0,
            box=shared,
        )
        self.layer_of[name] = layer
        if has_label:
            self.label_cells[index] = name
        return name

    def _path(self, box: str) -> list[str]:
        """The boxes around a place, outermost first."""
        path: list[str] = []
        while box:
            path.append(box)
            box = self.parents[box]
        return path[::-1]

    def _shared_box(self, one: str, other: str) -> str:
        shared = [a for a, b in zip(self._path(one), self._path(other), strict=False) if a == b]
        return shared[-1] if shared else ""

    def _span_boxes(self) -> None:
        self.spans: dict[str, tuple[int, int]] = {}
        for name, size in self.sizes.items():
            layer = self.layer_of[name]
            for box in self._path(size.box):
                first, last = self.spans.get(box, (layer, layer))
                self.spans[box] = (min(first, layer), max(last, layer))
        held = {
            (box, self.layer_of[name]) for name, size in self.cells.items() for box in self._path(size.box)
        }
        for box, (first, last) in self.spans.items():
            for layer in range(first, last + 1):
                if (box, layer) not in held:  # keeps others out of the box
                    name = f"{box}\n@{layer}"
                    self.cells[name] = Size(width=0.0, height=0.0, box=box)
                    self.layer_of[name] = layer

    # Order within the layers

    def _order(self) -> list[list[str]]:
        layers: list[list[str]] = [[] for _ in range(max(self.layer_of.values(), default=0) + 1)]
        for name in self.cells:
            layers[self.layer_of[name]].append(name)
        best, least = self._grouped(layers, {}), -1
        current = best
        for sweep in range(SWEEPS * 2):
            current = self._sweep(current, down=sweep % 2 == 0)
            crossings = self._crossings(current)
            if least < 0 or crossings < least:
                best, least = current, crossings
            if not least:
                break
        return best

    def _sweep(self, layers: list[list[str]], *, down: bool) -> list[list[str]]:
        place = {name: _share(index, layer) for layer in layers for index, name in enumerate(layer)}
        toward = self.above if down else self.below
        for layer in layers if down else reversed(layers):
            key = {name: _mean([place[one] for one in toward[name]], place[name]) for name in layer}
            for index, name in enumerate(sorted(layer, key=key.__getitem__)):
                place[name] = _share(index, layer)
        return self._grouped(layers, place)

    def _grouped(self, layers: list[list[str]], place: Mapping[str, float]) -> list[list[str]]:
        """Sort each layer by place, members of a box side by side, boxes alike in all layers."""
        members: dict[str, list[float]] = defaultdict(list)
        for name, size in self.cells.items():
            for box in self._path(size.box):
                members[box].append(place.get(name, 0.0))
        middle = {box: _mean(places, 0.0) for box, places in members.items()}

        def key(name: str) -> tuple[tuple[float, str], ...]:
            path = self._path(self.cells[name].box)
            return (*((middle[box], box) for box in path), (place.get(name, 0.0), ""))

        return [sorted(layer, key=key) for layer in layers]

    def _crossings(self, layers: list[list[str]]) -> int:
        total = 0
        for upper, lower in pairwise(layers):
            index = {name: number for number, name in enumerate(lower)}
            ends = [sorted(index[one] for one in self.below[name]) for name in upper]
            flat = [end for group in ends for end in group]
            total += sum(a > b for number, a in enumerate(flat) for b in flat[number + 1 :])
        return total

    # Columns

    def _columns(self, layers: list[list[str]]) -> dict[str, float]:
        """Solve for the x of centres and of box sides."""
        constraints = list(self._constraints(layers))
        before: dict[str, list[tuple[str, float]]] = defaultdict(list)
        after: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for left, right, distance in constraints:
            before[right].append((left, distance))
            after[left].append((right, distance))
        names = [*self.cells, *(side for box in self.spans for side in _sides(box))]
        order = _topological(
            names,
            {one: [n for n, _ in after[one]] for one in names},
            {one: [n for n, _ in before[one]] for one in names},
        )
        x: dict[str, float] = {}
        for name in order:
            x[name] = max((x[left] + distance for left, distance in before[name]), default=0.0)

        def bounds(name: str) -> tuple[float, float]:
            low = max((x[left] + distance for left, distance in before[name]), default=float("-inf"))
            return low, min((x[right] - distance for right, distance in after[name]), default=float("inf"))

        for number in range(ROUNDS):
            for name in order if number % 2 else reversed(order):
                low, high = bounds(name)
                x[name] = min(max(self._wish(name, x), low), high)
            if number >= ROUNDS // 2:
                self._straighten(x, bounds)
        return x

    def _straighten(self, x: dict[str, float], bounds: Callable[[str], tuple[float, float]]) -> None:
        """Put all bends of a long edge under each other, where there is room for that."""
        for chain in self.chains:
            bends = chain[1:-1]
            low = max((bounds(name)[0] for name in bends), default=0.0)
            high = min((bounds(name)[1] for name in bends), default=-1.0)
            if low <= high:
                together = min(max(_mean([x[name] for name in bends], 0.0), low), high)
                x.update(dict.fromkeys(bends, together))

    def _wish(self, name: str, x: Mapping[str, float]) -> float:
        """Where a cell would like to stand: between its neighbours; a box side close to its members."""
        if name not in self.cells:
            return x[name] + (40.0 if name.endswith("<") else -40.0)
        total, weight = 0.0, 0.0
        for one in (*self.above[name], *self.below[name]):
            pull = 1.0 if one in self.sizes and name in self.sizes else 4.0 if one not in self.sizes else 2.0
            total, weight = total + pull * x[one], weight + pull
        return total / weight if weight else x[name]

    def _constraints(self, layers: list[list[str]]) -> Iterator[tuple[str, str, float]]:
        """Give ``(left, right, distance)``: how far apart two centres or sides must be at least."""
        for layer in layers:
            row = self._with_sides(layer)
            for left, right in pairwise(row):
                yield left, right, self._half(left) + self._half(right) + self._gap(left, right)

    def _with_sides(self, layer: list[str]) -> list[str]:
        """A layer's cells with the sides of all boxes that span it."""
        row: list[str] = []
        open_boxes: list[str] = []
        for name in layer:
            path = self._path(self.cells[name].box)
            while open_boxes and open_boxes != path[: len(open_boxes)]:
                row.append(_sides(open_boxes.pop())[1])
            for box in path[len(open_boxes) :]:
                row.append(_sides(box)[0])
                open_boxes.append(box)
            row.append(name)
        row += [_sides(box)[1] for box in reversed(open_boxes)]
        return row

    def _half(self, name: str) -> float:
        return self.cells[name].width / 2 if name in self.cells else 0.0

    def _gap(self, left: str, right: str) -> float:
        if left not in self.cells or right not in self.cells:
            return self.gaps.box
        is_line = not self.cells[left].width or not self.cells[right].width
        return self.gaps.line if is_line else self.gaps.between

    # Rows

    def _rows(self, layers: list[list[str]]) -> None:
        """Find the top, middle and bottom of each layer, with room for the boxes that open and close."""
        self.rows: list[tuple[float, float, float]] = []
        below = 0.0
        for number, layer in enumerate(layers):
            heads = max(
                (self._heads(box) for box, span in self.spans.items() if span[0] == number), default=0
            )
            feet = max((self._feet(box) for box, span in self.spans.items() if span[1] == number), default=0)
            height = max((self.cells[name].height for name in layer), default=0.0)
            if number % 2:
                height = max(height, self.gaps.layer)
            top = below + heads * self.gaps.box_title
            self.rows.append((top, top + height / 2, top + height))
            below = top + height + feet * self.gaps.box
        self.height = below

    def _heads(self, box: str) -> int:
        """How many boxes open at the layer where this one does, from this one inwards."""
        inner = [one for one, parent in self.parents.items() if parent == box and one in self.spans]
        same = [self._heads(one) for one in inner if self.spans[one][0] == self.spans[box][0]]
        return 1 + max(same, default=0)

    def _feet(self, box: str) -> int:
        inner = [one for one, parent in self.parents.items() if parent == box and one in self.spans]
        same = [self._feet(one) for one in inner if self.spans[one][1] == self.spans[box][1]]
        return 1 + max(same, default=0)

    def _finish(self, x: dict[str, float]) -> Layout:
        edges = [x[name] - self._half(name) for name in x] + [x[name] + self._half(name) for name in x]
        left = min(edges, default=0.0)
        centres = {name: (x[name] - left, self.rows[self.layer_of[name]][1]) for name in self.cells}
        return Layout(
            centres={name: centres[name] for name in self.sizes},
            boxes={box: self._rectangle(box, x, left) for box in self.spans},
            lines=[
                [point for name in chain for point in self._points(name, centres[name])]
                for chain in self.chains
            ],
            labels={index: centres[name] for index, name in self.label_cells.items()},
            width=max(edges, default=0.0) - left,
            height=self.height,
        )

    def _points(self, name: str, centre: tuple[float, float]) -> list[tuple[float, float]]:
        """Where a line passes a cell: straight down between the shapes of a layer, so it cuts no corner."""
        top, _, bottom = self.rows[self.layer_of[name]]
        if name in self.sizes or self.layer_of[name] % 2 or bottom - top < 1:
            return [centre]
        return [(centre[0], top), (centre[0], bottom)]

    def _rectangle(self, box: str, x: dict[str, float], left: float) -> Rectangle:
        first, last = self.spans[box]
        top = self.rows[first][0] - self._heads(box) * self.gaps.box_title
        bottom = self.rows[last][2] + self._feet(box) * self.gaps.box
        start, end = (x[side] for side in _sides(box))
        return Rectangle(x=start - left, y=top, width=end - start, height=bottom - top)


def _sides(box: str) -> tuple[str, str]:
    return f"{box}\n<", f"{box}\n>"


def _share(index: int, layer: Sequence[str]) -> float:
    return (index + 0.5) / len(layer)


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _topological(
    names: Sequence[str], ahead: Mapping[str, Sequence[str]], behind: Mapping[str, Sequence[str]]
) -> list[str]:
    missing = {name: len(behind.get(name, ())) for name in names}
    ready = [name for name in names if not missing[name]]
    for name in ready:  # grows while it is read
        for after in ahead.get(name, ()):
            missing[after] -= 1
            if not missing[after]:
                ready.append(after)
    return ready
