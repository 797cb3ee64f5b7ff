"""What is demanded when: graphs wired for real, events by hand."""

from __future__ import annotations

from typing import Literal

import pytest
from driver import SEED, started, whole_state
from pydantic import BaseModel
from table import Table, both, check, plus, source, sources

from treadle import do, fallback, graph, match, node, when
from treadle.errors import InternalError
from treadle.scheduler.scheduler import Scheduler


class Ticket(BaseModel):
    kind: Literal["easy", "hard", "odd"]
    text: str


@node
async def triage(text: str) -> Ticket:
    return Ticket(kind="easy", text=text)


@node
async def look_up(query: str, k: int) -> int:
    return k


def test_nodes_without_inputs_start_at_once_and_a_join_waits_for_all() -> None:
    @graph
    def g() -> int:
        return both(source.named("a")(), source.named("b")())

    t = Table(g)
    assert t.start() == ["start a", "start b"]
    assert t.done("b") == []
    assert t.done("a") == ["start both"]
    assert t.done("both") == ["end completed"]


def test_a_node_starts_when_its_own_inputs_are_ready_beside_a_slow_sibling() -> None:
    @graph
    def g() -> int:
        slow, quick = sources("slow quick")
        return both(slow, plus.named("after_quick")(quick))

    t = Table(g)
    t.start()
    assert t.done("quick") == ["start after_quick"]


def test_what_becomes_of_one_run_does_not_reach_those_that_begin_alike() -> None:
    @graph
    def g() -> int:
        a, b, c, d = sources("a b c d")
        return both(fallback(plus.named("plus_a")(a), b), when(check(c), d, 7))

    t = Table(g)  # replays what it is fed, from what its first run has left for others

    def begin() -> dict[str, object]:
        other = Scheduler(t.program, seed=SEED)
        other.handle(started())
        return whole_state(other)

    t.start()
    before = begin()
    assert (t.fails("a"), t.done("c"), t.done("check")) == (["start b"], ["start check"], ["decide when"])
    assert (t.decided("when", 1), t.fails("b")) == ([], ["end failed"])
    assert begin() == before


def test_a_shared_node_runs_once() -> None:
    @graph
    def g() -> int:
        a = source.named("a")()
        return both(plus.named("left")(a), plus.named("right")(a))

    t = Table(g)
    assert t.start() == ["start a"]
    assert t.done("a") == ["start left", "start right"]
    assert t.done("right", "left") == ["start both"]


def test_an_unchosen_branch_never_starts() -> None:
    @graph
    def g() -> int:
        a, b, c = sources("a b c")
        return when(check(a), plus.named("then")(b), plus.named("otherwise")(c))

    t = Table(g)
    assert t.start() == ["start a"]
    t.done("a")
    assert t.done("check") == ["decide when"]
    assert t.decided("when", 1) == ["start c"]
    assert t.done("c") == ["start otherwise"]
    assert t.done("otherwise") == ["end completed"]
    assert [t.state("b"), t.state("then")] == ["idle", "idle"]


def test_what_all_cases_need_starts_with_the_subject() -> None:
    @graph
    def g(text: str) -> int:
        t = triage(text)
        passages = look_up(text, k=4)
        extra = source.named("extra")()
        return match(t.kind, {"easy": plus(passages), "hard": both(passages, extra), "odd": passages})

    t = Table(g)
    assert t.start() == ["start triage", "start look_up"]
    assert t.done("triage") == ["decide triage.kind"]
    assert t.decided("triage.kind") == ["decide match"]
    assert t.decided("match", 1) == ["start extra"]
    assert t.done("look_up", "extra") == ["start both"]


def test_what_two_of_three_cases_need_waits_for_the_choice() -> None:
    @graph
    def g(text: str) -> int:
        a, b = sources("a b")
        return match(triage(text).kind, {"easy": plus(a), "hard": both(a, b), "odd": 7})

    t = Table(g)
    assert t.start() == ["start triage"]
    t.done("triage")
    t.decided("triage.kind")
    assert t.decided("match", 2) == ["end completed"]


def test_what_all_cases_of_an_inner_choice_need_is_common_to_the_outer_one() -> None:
    @graph
    def g() -> int:
        a, b, c = sources("a b c")
        inner = when(check.named("second")(b), plus.named("p")(c), plus.named("q")(c))
        return when(check.named("first")(a), inner, plus.named("r")(c))

    assert Table(g).start() == ["start a", "start c"]


def test_a_choice_in_a_branch_waits_for_the_branch_to_be_chosen() -> None:
    @graph
    def g() -> int:
        a, c = sources("a c")
        inner = when(check(a), plus.named("p")(c), plus.named("q")(c))
        return when(check.named("top")(a), inner, 7)

    t = Table(g)
    assert t.start() == ["start a"]
    assert t.done("a") == ["start top"]
    t.done("top")
    assert t.decided("when.2", 0) == ["start c", "start check"]


def test_what_all_cases_share_through_many_nodes_is_found() -> None:
    @graph
    def g() -> int:
        a, deep = sources("a deep")
        left = plus.named("l3")(plus.named("l2")(plus.named("l1")(deep)))
        right = plus.named("r2")(plus.named("r1")(deep))
        return when(check(a), left, right)

    t = Table(g)
    assert t.start() == ["start a", "start deep"]
    assert t.done("deep") == []


def test_do_needs_all_of_its_arguments_and_groups_are_looked_into() -> None:
    @graph
    def g() -> list[int]:
        a, b, c = sources("a b c")
        return do(a, [b, c])

    t = Table(g)
    assert t.start() == ["start a", "start b", "start c"]
    assert t.done("a", "b", "c") == ["end completed"]


def test_and_needs_its_right_side_only_where_the_left_is_true() -> None:
    @graph
    def g() -> bool:
        a, b = sources("a b")
        return check.named("left")(a) & check.named("right")(b)

    t = Table(g)
    assert t.start() == ["start a"]
    t.done("a")
    assert t.done("left") == ["decide and"]
    assert t.decided("and", 1) == ["end completed"]


def test_a_read_is_decided_once_for_all_who_use_it() -> None:
    @graph
    def g(text: str) -> int:
        t = triage(text)
        return both(look_up.named("x")(t.text, k=1), look_up.named("y")(t.text, k=2))

    t = Table(g)
    t.start()
    assert t.done("triage") == ["decide triage.text"]
    assert t.decided("triage.text") == ["start x", "start y"]


def test_a_subgraph_is_no_barrier_and_demands_no_argument_it_does_not_use() -> None:
    @graph
    def inner(x: int, y: int, unused: int) -> int:
        return both(plus.named("early")(x), y)

    @graph
    def g() -> int:
        a, b, c = sources("a b c")
        return inner(a, b, c)

    t = Table(g)
    assert t.start() == ["start a", "start b"]
    assert t.done("a") == ["start inner/early"]
    assert t.done("b", "inner/early") == ["start inner/both"]


def test_a_graph_that_gives_back_its_input_needs_nothing() -> None:
    @graph
    def g(x: int) -> int:
        return x

    assert Table(g).start() == ["end completed"]


def test_runs_of_one_plan_do_not_see_each_other() -> None:
    @graph
    def g() -> int:
        a, b = sources("a b")
        return both(plus(a), fallback(b, 7))

    one, two = Table(g), Table(g)
    two.program, two.scheduler = one.program, Scheduler(one.program, seed=SEED)
    assert one.start() == two.start() == ["start a", "start b"]
    assert one.done("a") == ["start plus"]
    one.fails("b")
    three = Table(g)
    three.program, three.scheduler = one.program, Scheduler(one.program, seed=SEED)
    with pytest.raises(InternalError, match="run new"):
        three.done("a")
    assert three.start() == ["start a", "start b"]
    assert three.done("b", "a") == ["start plus"]
