"""Pictures of plans: what is in them, and that nothing lies upon anything else."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import ConfigurationError
from treadle.ids import NodeId
from treadle.plan.draw import draw
from treadle.plan.layout import Layout, Link, Size, arrange
from treadle.plan.parts import Argument, Case, Constant, Definition, PlanNode, Read, Scope, Wire
from treadle.plan.plan import Plan
from treadle.plan.sketch import RESULT, sketch
from treadle.values import JSON


def work(name: str, *needs: str, kind: str = "node", scope: str = "") -> PlanNode:
    return PlanNode(
        id=NodeId(name),
        kind=kind,  # type: ignore[arg-type]  # one of the work kinds
        scope=scope,
        definition=Definition(kind=kind, name=name),
        arguments=tuple(Argument(f"p{i}", Wire(NodeId(need))) for i, need in enumerate(needs)),
    )


def read(name: str, source: str, key: str) -> PlanNode:
    argument = Argument("value", Wire(NodeId(source)))
    path = (Read(key, True),)
    return PlanNode(id=NodeId(name), kind="expression", operation="read", arguments=(argument,), path=path)


def case(node: str, label: object) -> Case:
    return Case(binding=Wire(NodeId(node)), test="equal", label=label)


SUPPORT = Plan(
    name="support",
    nodes=(
        PlanNode(id=NodeId("ticket"), kind="input"),
        work("triage", "ticket", kind="agent"),
        read("level", "triage", "difficulty"),
        work("quick", "ticket", kind="agent"),
        work("expert", "ticket", kind="agent"),
        work("desk", "ticket", kind="human"),
        PlanNode(
            id=NodeId("fallback"),
            kind="fallback",
            cases=(Case(binding=Wire(NodeId("expert"))), Case(binding=Wire(NodeId("desk")))),
        ),
        PlanNode(
            id=NodeId("match"),
            kind="match",
            subject=Wire(NodeId("level")),
            cases=(case("quick", "easy"), case("fallback", "hard & <odd>"), case("desk", "person")),
        ),
    ),
    result=Wire(NodeId("match")),
)


def arrows(plan: Plan) -> set[tuple[str, str, str, str]]:
    return {(edge.source, edge.target, edge.label, edge.style) for edge in sketch(plan).edges}


def test_a_match_is_drawn_where_it_chooses() -> None:
    drawn = arrows(SUPPORT)
    assert ("triage", "match", "", "value") in drawn
    assert {
        ("match", "quick", "easy", "demand"),
        ("match", "expert", '"hard & <odd>"', "demand"),
        ("match", "desk", "person", "demand"),
    } <= drawn


def test_a_fallback_is_an_arrow_from_the_first_to_the_next() -> None:
    assert ("expert", "desk", "on failure", "demand") in arrows(SUPPORT)


def test_results_of_branches_flow_to_the_result() -> None:
    assert {source for source, target, _, _ in arrows(SUPPORT) if target == RESULT} == {
        "quick",
        "expert",
        "desk",
    }


def test_a_shared_choice_flows_on_through_a_junction() -> None:
    takers = (work("a", "match"), work("b", "match", "a"))
    plan = Plan(name="p", nodes=(*SUPPORT.nodes, *takers), result=Wire(NodeId("b")))
    drawn = arrows(plan)
    assert {("match (join)", "a", "", "value"), ("match (join)", "b", "", "value")} <= drawn


def test_a_branch_without_work_is_drawn_as_its_constant() -> None:
    no = Case(binding=Constant(JSON.pack("no")), test="otherwise")
    yes = Case(binding=Wire(NodeId("ask")), test="equal", label=True)
    when = PlanNode(id=NodeId("when"), kind="when", subject=Wire(NodeId("check")), cases=(yes, no))
    inputs = PlanNode(id=NodeId("x"), kind="input")
    plan = Plan(
        name="p", nodes=(inputs, work("check", "x"), work("ask", "x"), when), result=Wire(NodeId("when"))
    )
    drawn = arrows(plan)
    assert ("when", "when (case 1)", "no", "demand") in drawn
    assert ("when (case 1)", RESULT, "", "value") in drawn


@pytest.mark.parametrize("form", ["svg", "mermaid", "text"])
def test_every_work_node_is_in_the_picture(form: str) -> None:
    picture = draw(SUPPORT, form)
    assert all(name in picture for name in ("triage", "quick", "expert", "desk", "ticket"))


def test_svg_is_well_formed_and_needs_nothing_else() -> None:
    root = ET.fromstring(draw(SUPPORT, "svg"))
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"triage", "difficulty", "easy", '"hard & <odd>"', "on failure"} <= words
    assert "href" not in draw(SUPPORT, "svg")


def test_text_shows_a_shared_node_once() -> None:
    assert draw(SUPPORT, "text").splitlines()[:4] == [
        "support(ticket)",
        "└─ match",
        "   ├─ on triage  [agent]  → difficulty",
        "   │  └─ ticket",
    ]
    assert draw(SUPPORT, "text").count("(above)") == 1


def test_mermaid_boxes_subgraphs() -> None:
    inner = work("inner/a", "x", scope="inner")
    scope = Scope(id="inner", graph="inner")
    nodes = (PlanNode(id=NodeId("x"), kind="input"), inner)
    plan = Plan(name="p", nodes=nodes, scopes=(scope,), result=Wire(inner.id))
    lines = draw(plan, "mermaid").splitlines()
    start = next(number for number, line in enumerate(lines) if "subgraph" in line)
    assert '"inner"' in lines[start]
    assert '["a<br/>node"]' in lines[start + 1]
    assert lines[start + 2].strip() == "end"


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'mermaid'"):
        draw(SUPPORT, "mermade")


BOXES = {"": None, "A": "", "B": "", "A/C": "A"}


@st.composite
def drawings(draw_: st.DrawFn) -> tuple[dict[str, Size], list[Link]]:
    count = draw_(st.integers(1, 14))
    sizes = {
        f"v{number}": Size(width=draw_(st.sampled_from([14.0, 80.0, 190.0])), height=40.0, box=box)
        for number in range(count)
        for box in [draw_(st.sampled_from(sorted(BOXES)))]
    }
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = draw_(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    links = [
        Link(source=f"v{a}", target=f"v{b}", label_width=draw_(st.sampled_from([0.0, 60.0])))
        for a, b in chosen
    ]
    return sizes, links


def arranged(sizes: dict[str, Size], links: list[Link]) -> Layout:
    return arrange(sizes, links, {"A": "", "B": "", "A/C": "A"})


def corners(layout: Layout, sizes: dict[str, Size], name: str) -> tuple[float, float, float, float]:
    (x, y), size = layout.centres[name], sizes[name]
    return x - size.width / 2, y - size.height / 2, x + size.width / 2, y + size.height / 2


def is_apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return (
        one[2] <= other[0] + 0.1
        or other[2] <= one[0] + 0.1
        or one[3] <= other[1] + 0.1
        or other[3] <= one[1] + 0.1
    )


@given(drawings())
def test_no_shape_lies_upon_another(drawing: tuple[dict[str, Size], list[Link]]) -> None:
    sizes, links = drawing
    layout = arranged(sizes, links)
    placed = [corners(layout, sizes, name) for name in sizes]
    assert all(is_apart(one, other) for number, one in enumerate(placed) for other in placed[:number])


@given(drawings())
def test_boxes_hold_their_own_and_nothing_else(drawing: tuple[dict[str, Size], list[Link]]) -> None:
    sizes, links = drawing
    layout = arranged(sizes, links)
    for box, place in layout.boxes.items():
        around = (place.x, place.y, place.x + place.width, place.y + place.height)
        for name, size in sizes.items():
            inside = size.box == box or size.box.startswith(f"{box}/")
            left, top, right, bottom = corners(layout, sizes, name)
            within = left >= around[0] and top >= around[1] and right <= around[2] and bottom <= around[3]
            assert within if inside else is_apart((left, top, right, bottom), around)


@given(drawings())
def test_edges_point_down(drawing: tuple[dict[str, Size], list[Link]]) -> None:
    sizes, links = drawing
    layout = arranged(sizes, links)
    for line in layout.lines:
        heights = [y for _, y in line]
        assert heights == sorted(heights)
        assert len(set(heights)) == len(heights)
