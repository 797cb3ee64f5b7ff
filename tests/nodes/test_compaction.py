"""Long conversations are made shorter when a declared limit is near, and not a moment before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from treadle import Budget, Prompt, agent, graph, run, tool, values
from treadle.errors import BudgetExceeded, ConfigurationError
from treadle.messages import Message, ModelRequest, ToolResult
from treadle.models import Compact, Price
from treadle.testing import ScriptedModel, call, crash_everywhere

pytestmark = pytest.mark.anyio

WORDS = "the weft goes over and under. " * 40  # 1,200 bytes, 300 tokens


@tool
async def read(page: int) -> str:
    """Read a page."""
    return f"{page}: {WORDS}"


def reader(pages: int) -> Any:
    """A model that reads page after page, whatever else it is shown, and then says how many it still sees."""
    asked = [0]

    def respond(request: ModelRequest) -> object:
        asked[0] += 1
        if asked[0] <= pages:
            return call("read", page=asked[0])
        return f"seen {sum(WORDS in content for content in results(request))}"

    return respond


def results(request: ModelRequest) -> list[str]:
    parts = [part for message in request.messages for part in message.parts]
    return [part.content for part in parts if isinstance(part, ToolResult)]


async def read_all(pages: int, **options: Any) -> tuple[str, ScriptedModel]:
    model = ScriptedModel(reader(pages))

    @agent(model=model, tools=[read], max_turns=40, instructions="be kind", **options)
    async def student(text: str) -> Prompt[str]:
        return Prompt(text)

    @graph
    def study(text: str) -> str:
        return student(text)

    return await run(study, "Read all."), model


def written(request: ModelRequest) -> bytes:
    """A request as it is stored, without its last bracket: what a later one begins with if it only adds."""
    return values.codec(tuple[Message, ...]).encode(request.messages)[:-1]


def breaks(model: ScriptedModel) -> list[int]:
    """Before which requests the prefix changed."""
    kept = [written(request) for request in model.requests]
    return [i for i in range(1, len(kept)) if not kept[i].startswith(kept[i - 1])]


async def test_nothing_is_touched_below_the_limit() -> None:
    answer, model = await read_all(6, compact=Compact(limit=100_000, keep=1))
    assert (answer, breaks(model)) == ("seen 6", [])


async def test_old_results_are_cut_to_a_note_and_the_last_turns_stay() -> None:
    answer, model = await read_all(6, compact=Compact(limit=1500, share=1, keep=2))
    assert answer != "seen 6"
    *older, before, last = results(model.requests[-1])
    assert older[0] == "[cut: the 1,203 characters that read gave; what it did is done]"
    assert (before, last) == (f"5: {WORDS}", f"6: {WORDS}")


async def test_the_prefix_changes_only_where_something_is_cut() -> None:
    _, model = await read_all(14, compact=Compact(limit=3000, share=0.8, keep=2))
    assert breaks(model) == [8, 14]
    first = [request.messages[:2] for request in model.requests]
    assert all(head == first[0] for head in first)
    assert all(request.tools == model.requests[0].tools for request in model.requests)


@pytest.mark.parametrize("pages", [10, 20, 39])
async def test_no_request_passes_the_limit(pages: int) -> None:
    _, model = await read_all(pages, compact=Compact(limit=3000, share=0.8, keep=2))
    sizes = [(model.input_bound(one.messages, one) or 0) // 4 for one in model.requests]
    assert max(sizes) <= 3000


async def test_a_summary_is_a_recorded_step_of_another_model() -> None:
    short = ScriptedModel(lambda _: "pages about weft", name="short")
    answer, model = await read_all(6, compact=Compact(limit=1500, share=1, keep=2, summary=short))
    assert answer == "seen 3"
    assert "pages about weft" in model.requests[-1].messages[2].text
    [asked, *_] = short.requests
    assert asked.messages[1].text.startswith(
        'assistant: [called read with {"page": 1}]\ntool: [read gave: 1:'
    )


async def test_what_a_summary_costs_counts_in_the_agents_budget() -> None:
    dear = ScriptedModel(
        lambda _: "short", price=Price(input_mtok=Decimal(1_000_000), output_mtok=Decimal(1_000_000))
    )
    compact = Compact(limit=1500, share=1, keep=2, summary=dear)
    with pytest.raises(BudgetExceeded):
        await read_all(6, compact=compact, budget=Budget(usd="1"))


async def test_an_empty_summary_cuts_instead() -> None:
    mute = ScriptedModel(lambda _: "", name="mute")
    _, model = await read_all(6, compact=Compact(limit=1500, share=1, keep=2, summary=mute))
    assert results(model.requests[-1])[0].startswith("[cut: ")


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 9, "keep": 0}, {"limit": 9, "share": 1.5}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"write for example Compact\((limit=128_000|keep=3|share=0.75)\)"
    ):
        Compact(**wrong)


def by_pages(request: ModelRequest) -> object:
    """Reads the next page after the last it sees called, so a restarted one goes on alike."""
    called = [each.arguments for message in request.messages for each in message.tool_calls]
    page = int(called[-1].strip('{}"page: ')) + 1 if called else 1
    return call("read", page=page) if page <= 6 else f"seen {len(results(request))}"


@agent(
    model=ScriptedModel(by_pages, price=Price(input_mtok=Decimal(1), output_mtok=Decimal(2))),
    tools=[read],
    compact=Compact(limit=1500, share=1, keep=2, summary=ScriptedModel(lambda _: "a summary", name="short")),
)
async def student(text: str) -> Prompt[str]:
    return Prompt(text)


@graph
def study(text: str) -> str:
    return student(text)


async def test_a_crash_anywhere_asks_for_no_summary_twice() -> None:
    report = await crash_everywhere(study, "Read.", at_most=3)
    assert report.value == "seen 3"
