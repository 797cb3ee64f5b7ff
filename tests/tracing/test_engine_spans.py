"""The spans of real runs, with the SDK's own exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context as Context_
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from tests.tracing.conftest import Spans

from treadle import Ask, Context, Engine, Prompt, Retry, agent, compose, each, graph, human, node, run, tool
from treadle.testing import ScriptedModel, call
from treadle.tracing.spans import OpenTelemetryTracer

pytestmark = pytest.mark.anyio


@pytest.fixture
def exporter(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What engines of the test export: their provider is the test's, not the process's."""
    monkeypatch.setattr(compose, "open_tracer", lambda: spans.tracer)
    return spans.exporter


@tool
async def look_up(order: str) -> str:
    """Look an order up."""
    return f"{order} is on its way"


@human(to="leads")
async def desk(question: str) -> Ask[str]:
    return Ask(question)


@node
async def shout(ctx: Context, text: str) -> str:
    return text.upper()


class Broken(SpanProcessor, Sampler):
    """A part of a user's tracer that raises where a test says so."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _reach(self, where: str) -> None:
        if where == self.where:
            raise KeyError(where)

    def on_start(self, span: Span, parent_context: Context_ | None = None) -> None:
        self._reach("start")

    def on_end(self, span: ReadableSpan) -> None:
        self._reach("end")

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        self._reach("sample")
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "broken"


@pytest.mark.parametrize("where", ["sample", "start", "end"])
async def test_a_tracer_that_raises_costs_spans_and_no_run(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(where)
    provider = TracerProvider(sampler=broken)
    provider.add_span_processor(broken)
    tracer = OpenTelemetryTracer(provider, content=True)
    monkeypatch.setattr(compose, "open_tracer", lambda: tracer)
    async with Engine() as engine:
        handle = await engine.start(pipeline(), "Where is A-1?")
        assert await handle.settled() == "waiting"
        await engine.answer(handle.questions[0], "on its way", by="maria")
        assert await handle.result() == "ON ITS WAY"
        assert await engine.store.verify(handle.id) == []
    [warning] = [record for record in caplog.records if record.name == "treadle.tracing"]
    assert "the tracer raised KeyError" in warning.message


def pipeline() -> Any:
    model = ScriptedModel([call("look_up", order="A-1"), "It is on its way."])

    @agent(model=model, tools=[look_up])
    async def expert(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def support(question: str) -> str:
        return shout(desk(expert(question)))

    return support


def named(spans: tuple[ReadableSpan, ...]) -> list[str]:
    return sorted(span.name for span in spans)


async def test_a_run_an_agent_its_requests_and_its_tools_are_one_tree(exporter: InMemorySpanExporter) -> None:
    model = ScriptedModel([call("look_up", order="A-1"), "It is on its way."])

    @agent(model=model, tools=[look_up])
    async def expert(question: str) -> Prompt[str]:
        return Prompt(question)

    @graph
    def support(question: str) -> str:
        return shout(expert(question))

    await run(support, "Where is A-1?")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert named(exporter.get_finished_spans()).count("chat scripted") == 2
    assert {"invoke_workflow support", "invoke_agent expert", "execute_tool look_up"} <= set(spans)
    run_span, agent_span = spans["invoke_workflow support"], spans["invoke_agent expert"]
    assert agent_span.parent is not None
    assert agent_span.parent.span_id == run_span.context.span_id
    for name in ("chat scripted", "execute_tool look_up"):
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == agent_span.context.span_id


@graph
def loud(word: str) -> str:
    return shout(shout(word))


@graph
def items(words: list[str]) -> list[str]:
    return each(loud, each(shout, words))


async def test_an_item_that_is_a_graph_has_a_span_and_an_item_that_is_a_node_is_its_own(
    exporter: InMemorySpanExporter,
) -> None:
    assert await run(items, ["a", "b"]) == ["A", "B"]
    spans = exporter.get_finished_spans()
    scopes = {span.attributes["treadle.scope.id"]: span for span in spans if "loud" in span.name}  # type: ignore[index]  # set
    assert set(scopes) == {"each.2(0)", "each.2(1)"}
    parents = {str(span.attributes["treadle.node.id"]): span.parent for span in spans if "shout" in span.name}  # type: ignore[index]  # set
    inner, single = parents["each.2(1)/shout.2"], parents["each(1)/shout"]
    assert inner is not None
    assert single is not None
    assert inner.span_id == scopes["each.2(1)"].context.span_id
    assert single.span_id == next(s for s in spans if s.name.endswith("items")).context.span_id


async def test_one_trace_goes_through_a_pause_and_another_engine(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    support, url = pipeline(), f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, graphs=[support]) as engine:
        handle = await engine.start(support, "Where is A-1?", run_id="r-1")
        assert await handle.settled() == "waiting"
    async with Engine(url, graphs=[support]) as engine:
        [question] = await engine.questions()
        await engine.answer(question.id, "soon", by="maria")
        assert await (await engine.resume("r-1")).result() == "SOON"
    spans = exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans}) == 1
    assert named(spans).count("invoke_workflow support") == 2
    assert not [span.name for span in spans if not span.status.is_ok and not span.status.is_unset]


async def test_no_content_stands_in_spans(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    support = pipeline()
    async with Engine(f"sqlite:///{tmp_path / 'runs.db'}", graphs=[support]) as engine:
        await (await engine.start(support, "A secret question")).settled()
    said = str([(span.name, dict(span.attributes or {})) for span in exporter.get_finished_spans()])
    assert "secret" not in said
    assert "on its way" not in said


async def test_each_try_at_a_step_has_a_span_that_ends(exporter: InMemorySpanExporter) -> None:
    tries = list[str]()

    @node(retry=Retry(attempts=3, wait=0.001))
    async def flaky(word: str) -> str:
        tries.append(word)
        if len(tries) < 3:
            raise ValueError("not yet")
        return word

    @node
    async def around(ctx: Context, word: str) -> str:
        return await ctx.step(flaky, word)

    @graph
    def only(word: str) -> str:
        return around(word)

    async with Engine() as engine:
        assert await (await engine.start(only, "a")).result() == "a"
    failed = [span.status.is_ok for span in exporter.get_finished_spans() if "flaky" in span.name]
    assert failed == [False, False, True]
