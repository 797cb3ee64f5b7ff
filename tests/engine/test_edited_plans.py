"""A run taken up under an edited graph: what was finished is kept by definition and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.engine.conftest import Bank, Place, the_question

from treadle import Ask, Context, Prompt, agent, graph, human, node, tool, when
from treadle.events import NodeCompleted, StepStarted
from treadle.nodes.graph import Graph
from treadle.testing import ScriptedModel, call

pytestmark = pytest.mark.anyio


class Board:
    """Graphs called ``board`` whose last node hangs until it may end, and what their nodes ran.

    Attributes:
        ran: The arguments of the work that was really done; each gives a result of its own.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.at_the_end = anyio.Event()
        self.may_end = False

        @node
        async def work(name: str) -> str:
            self.ran.append(name)
            return f"{name}{len(self.ran)}"

        @node
        async def last(values: list[str]) -> list[str]:
            self.at_the_end.set()
            if not self.may_end:
                await anyio.sleep_forever()
            return values

        self.work, self.last = work, last

    def graph(self, wire: Callable[[], list[Any]]) -> Graph[[], list[str]]:
        @graph(name="board")
        def board() -> list[str]:
            return self.last(wire())

        return board

    def calls(self, *pairs: tuple[str, str]) -> Graph[[], list[str]]:
        """A board of calls of ``work``: pairs of a name (``""`` for the default) and an argument."""
        work = self.work
        return self.graph(lambda: [(work.named(name) if name else work)(given) for name, given in pairs])

    async def go_on(self, place: Place, edited: Graph[[], list[str]]) -> tuple[list[str], list[str]]:
        """Resume under an edited graph; give the result, and what ran for it."""
        before, self.may_end = len(self.ran), True
        result: list[str] = await place.resume(edited)
        return result, self.ran[before:]


@pytest.fixture
def board() -> Board:
    return Board()


OLD = [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(
    ("edited", "expected", "runs"),
    [
        pytest.param([("a", "x"), ("n", "z"), ("b", "y")], ["x1", "z3", "y2"], ["z"], id="inserted"),
        pytest.param([("b", "y")], ["y2"], [], id="removed"),
        pytest.param([("b", "y"), ("a", "x")], ["y2", "x1"], [], id="moved"),
        pytest.param([("a", "x"), ("c", "y")], ["x1", "y2"], [], id="renamed"),
        pytest.param([("a", "y"), ("b", "x")], ["y2", "x1"], [], id="names exchanged"),
        pytest.param([("a", "x"), ("b", "w")], ["x1", "w3"], ["w"], id="other input"),
        pytest.param([("a", "x"), ("b", "y"), ("c", "y")], ["x1", "y2", "y3"], ["y"], id="copied"),
        pytest.param(
            [("a", "x"), ("c", "y"), ("d", "y")], ["x1", "y2", "y3"], ["y"], id="renamed and copied"
        ),
    ],
)
async def test_what_an_edit_leaves_alone_is_not_run_again(
    edited: list[tuple[str, str]], expected: list[str], runs: list[str], board: Board, place: Place
) -> None:
    await place.crash(board.calls(*OLD), dies=board.at_the_end)
    assert await board.go_on(place, board.calls(*edited)) == (expected, runs)


async def test_default_names_that_shift_pick_up_nobody_elses_answer(board: Board, place: Place) -> None:
    await place.crash(board.calls(("", "x"), ("", "y")), dies=board.at_the_end)
    result, runs = await board.go_on(place, board.calls(("", "new"), ("", "x"), ("", "y")))
    assert (result, runs) == (["new3", "x1", "y2"], ["new"])


async def test_equal_calls_keep_their_own_answers(board: Board, place: Place) -> None:
    await place.crash(board.calls(("a", "x"), ("b", "x"), ("c", "x")), dies=board.at_the_end)
    edited = board.calls(("c", "x"), ("n", "x"), ("a", "x"))  # b became n
    assert await board.go_on(place, edited) == (["x3", "x2", "x1"], [])


async def test_the_claims_of_an_edit_are_in_the_history(board: Board, place: Place) -> None:
    await place.crash(board.calls(*OLD), dies=board.at_the_end)
    edited = board.calls(("a", "x"), ("c", "y"))
    await board.go_on(place, edited)
    completed = await place.events(edited, NodeCompleted)
    assert [(event.node, event.claimed) for event in completed] == [
        ("a", 0), ("b", 0), ("a", 2), ("c", 3), ("last", 0),
    ]  # fmt: skip


async def test_a_changed_definition_runs_again(board: Board, place: Place) -> None:
    @node(name="work")
    async def other_work(name: str, *, loud: bool = True) -> str:
        board.ran.append(f"loud {name}")
        return name.upper()

    await place.crash(board.calls(*OLD), dies=board.at_the_end)
    edited = board.graph(lambda: [board.work.named("a")("x"), other_work.named("b")("y")])
    assert await board.go_on(place, edited) == (["x1", "Y"], ["loud y"])


async def test_an_edited_body_with_the_same_signature_is_the_same_definition(
    board: Board, place: Place
) -> None:
    @node(name="work")
    async def same_work(name: str) -> str:
        raise AssertionError("what it did is done")

    await place.crash(board.calls(*OLD), dies=board.at_the_end)
    edited = board.graph(lambda: [same_work.named("a")("x"), same_work.named("new name")("y")])
    assert await board.go_on(place, edited) == (["x1", "y2"], [])


async def test_what_depends_on_a_changed_result_runs_again(board: Board, place: Place) -> None:
    def chain(first: str) -> Graph[[], list[str]]:
        work = board.work
        return board.graph(lambda: [work.named("c")(work.named("b")(work.named("a")(first))), work("z")])

    await place.crash(chain("x"), dies=board.at_the_end)
    finished = len(board.ran)
    result, runs = await board.go_on(place, chain("w"))
    assert (finished, len(runs), runs[0]) == (4, 3, "w")
    assert result[0].startswith("w")


async def test_an_edit_and_its_undoing_lose_nothing(board: Board, place: Place) -> None:
    old, edited = board.calls(*OLD), board.calls(("n", "z"), ("c", "x"))
    await place.crash(old, dies=board.at_the_end)
    board.at_the_end = anyio.Event()
    await place.crash(edited, dies=board.at_the_end)
    assert await board.go_on(place, old) == (["x1", "y2"], [])
    assert board.ran == ["x", "y", "z"]


async def test_an_edited_condition_is_decided_anew(board: Board, place: Place) -> None:
    def choosing(wanted: str) -> Graph[[], list[str]]:
        work = board.work
        return board.graph(lambda: [when(work("x") == wanted, work.named("yes")("a"), work.named("no")("b"))])

    await place.crash(choosing("x1"), dies=board.at_the_end)
    assert await board.go_on(place, choosing("never")) == (["b3"], ["b"])
    assert board.ran == ["x", "a", "b"]


async def test_a_failed_run_goes_on_under_the_mended_graph(board: Board, place: Place) -> None:
    @node
    async def broken(name: str) -> str:
        raise ValueError("broken")

    old = board.graph(lambda: [board.work("x"), broken("y")])
    async with place.engine(old) as engine:
        await (await engine.start(old, run_id="r")).settled()
    edited = board.graph(lambda: [board.work("x"), board.work.named("mended")("y")])
    assert await board.go_on(place, edited) == (["x1", "y2"], ["y"])


# -- steps, effects and people -----------------------------------------------------------------------------


@pytest.mark.parametrize("crashes", [0, 1, 2])
async def test_the_steps_of_an_unfinished_agent_are_claimed_under_an_edited_plan(
    crashes: int, board: Board, place: Place
) -> None:
    """However often the process dies under the new plan before the agent is asked again."""
    stuck, hangs = anyio.Event(), [True]

    @tool
    async def look(name: str) -> str:
        """Look something up."""
        board.ran.append(name)
        return "found"

    @tool
    async def wait(name: str) -> str:
        """Wait."""
        stuck.set()
        if hangs[0]:
            await anyio.sleep_forever()
        return "waited"

    model = ScriptedModel([call("look", name="a"), call("wait", name="b"), "done"])

    @agent(model=model, tools=[look, wait])
    async def expert(name: str) -> Prompt[str]:
        return Prompt(name)

    gate, may_pass = anyio.Event(), [False]

    @node
    async def before(name: str) -> str:
        gate.set()
        if not may_pass[0]:
            await anyio.sleep_forever()
        return name

    await place.crash(board.graph(lambda: [expert("x")]), dies=stuck)
    edited = board.graph(lambda: [expert(before("x"))])
    for _ in range(crashes):
        gate = anyio.Event()
        await place.crash(edited, dies=gate)
    hangs[0], may_pass[0] = False, True
    result, runs = await board.go_on(place, edited)
    assert (result, runs, len(model.requests)) == (["done"], [], 3)
    assert board.ran == ["a"]


@pytest.mark.parametrize(
    "rewire",
    [
        pytest.param(lambda pay: lambda: [pay.named("payment")(3)], id="renamed"),
        pytest.param(lambda pay: lambda: [pay(1), pay(3)], id="shifted"),
    ],
)
async def test_an_effect_in_doubt_keeps_its_doubt_and_its_key_under_another_name(
    rewire: Any, board: Board, place: Place
) -> None:
    bank = Bank("hang")

    @tool(effect="once")
    async def pay(ctx: Context, amount: int) -> str:
        """Pay."""
        return await bank.pay(ctx.idempotency_key)

    old = board.graph(lambda: [pay(3)])
    await place.crash(old, dies=bank.acting)
    edited, board.may_end = board.graph(rewire(pay)), True
    async with place.engine(edited) as engine:
        handle = await engine.resume("r")
        assert await handle.settled() == "waiting"
        assert bank.keys.count(bank.keys[0]) == 1
        await engine.answer(await the_question(engine), {"outcome": "run_again"}, by="ada")
        assert set(await handle.result()) == {"paid"}
    assert bank.keys.count(bank.keys[0]) == 2


async def test_the_steps_of_a_node_whose_name_shifted_are_claimed(board: Board, place: Place) -> None:
    hang, stuck = [True], anyio.Event()

    @node
    async def order(ctx: Context, name: str) -> str:
        done = await ctx.step(board.work, name)
        stuck.set()
        if hang[0]:
            await anyio.sleep_forever()
        return done

    await place.crash(board.graph(lambda: [order("x")]), dies=stuck)
    hang[0] = False
    edited = board.graph(lambda: [order("new"), order("x")])
    assert await board.go_on(place, edited) == (["new2", "x1"], ["new"])


async def test_a_finished_effect_is_claimed_under_another_name(board: Board, place: Place) -> None:
    bank = Bank()

    @tool(effect="once")
    async def pay(ctx: Context, amount: int) -> str:
        """Pay."""
        return await bank.pay(ctx.idempotency_key)

    await place.crash(board.graph(lambda: [pay(3)]), dies=board.at_the_end)
    edited = board.graph(lambda: [pay.named("payment")(3), board.work("new")])
    assert (await board.go_on(place, edited))[0] == ["paid", "new1"]
    assert len(bank.keys) == 1


@pytest.mark.parametrize("name", ["boss", "chief"])
async def test_an_answer_is_kept_under_an_edited_plan(name: str, board: Board, place: Place) -> None:
    @human(to="boss")
    async def boss(text: str) -> Ask[str]:
        return Ask(text)

    old = board.graph(lambda: [boss("go on?")])
    async with place.engine(old) as engine:
        handle = await engine.start(old, run_id="r")
        await handle.settled()
        [question] = await engine.questions()
        await engine.answer(question.id, "yes", by="ada")
        await board.at_the_end.wait()
    edited = board.graph(lambda: [board.work("new"), boss.named(name)("go on?")])
    result, _ = await board.go_on(place, edited)
    assert result == ["new1", "yes"]


async def test_a_question_still_open_is_not_asked_twice_under_an_edited_plan(
    board: Board, place: Place
) -> None:
    @human(to="boss")
    async def boss(text: str) -> Ask[str]:
        return Ask(text)

    old = board.graph(lambda: [boss("go on?")])
    async with place.engine(old) as engine:
        await (await engine.start(old, run_id="r")).settled()
    edited, board.may_end = board.graph(lambda: [boss("go on?"), board.work("new")]), True
    async with place.engine(edited) as engine:
        handle = await engine.resume("r")
        await handle.settled()
        [question] = await engine.questions()
        await engine.answer(question.id, "yes", by="ada")
        assert await handle.result() == ["yes", "new1"]


async def test_a_new_plan_takes_the_steps_it_claims_into_its_own_history(board: Board, place: Place) -> None:
    """A third process, under the edited plan, finds them claimed and claims nothing twice."""
    hang, stuck = [True], anyio.Event()

    @node
    async def both(ctx: Context, name: str) -> str:
        first = await ctx.step(board.work, name)
        second = await ctx.step(board.work, name)
        stuck.set()
        if hang[0]:
            await anyio.sleep_forever()
        return first + second

    await place.crash(board.graph(lambda: [both("x")]), dies=stuck)
    stuck = anyio.Event()
    edited = board.graph(lambda: [both("x"), board.work("new")])
    await place.crash(edited, dies=stuck)
    hang[0] = False
    assert (await board.go_on(place, edited))[0][0] == "x1x2"
    assert board.ran.count("x") == 2
    assert len(await place.events(edited, StepStarted)) == 2
