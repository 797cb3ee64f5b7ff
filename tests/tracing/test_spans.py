"""What a back end sees of a run."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import jsonschema
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from treadle.budget import Amounts, Price, Usage
from treadle.ids import RunId
from treadle.interfaces import RunSpan
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    OutputSpec,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    system,
    user,
)
from treadle.testing import ScriptedModel
from treadle.tracing import names
from treadle.tracing.content import LIMIT
from treadle.tracing.names import NEWEST
from treadle.tracing.spans import OpenTelemetryTracer

if TYPE_CHECKING:
    from tests.tracing.conftest import Spans

PRICE = Price(input_mtok=Decimal(1), output_mtok=Decimal(2), basis="genai-prices", version="1.2")
MODEL = ScriptedModel(["hi"], price=PRICE, name="gpt-x")
REQUEST = ModelRequest(
    messages=(
        system("be brief"),
        user("secret"),
        Message(role="assistant", parts=(ToolCall(id="c1", name="look", arguments='{"a": 1}'),)),
        Message(role="tool", parts=(ToolResult(call_id="c1", name="look", content="found"),)),
    ),
    tools=(ToolSpec(name="look", description="Look it up", parameters={"type": "object"}),),
    max_output_tokens=64,
    temperature=0.5,
)
USAGE = Usage(
    input_tokens=100, output_tokens=20, cache_read_tokens=30, cache_write_tokens=10, reasoning_tokens=5
)
RESPONSE = ModelResponse(
    message=Message(role="assistant", parts=(Text(text="whisper"), Refusal(text="no"))),
    usage=USAGE,
    model="gpt-x-2026",
    response_id="resp-1",
)


def open_run(spans: Spans, *, at: float = 1.0, traceparent: str = "") -> RunSpan:
    return spans.tracer.run(
        run_id=RunId("r-1"),
        graph="support",
        digest="d1",
        at=at,
        scopes={"inner": ("solve", ""), "inner/deep": ("look", "inner")},
        traceparent=traceparent,
    )


def attributes(span: ReadableSpan) -> dict[str, AttributeValue]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def own(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


def ask(spans: Spans, *, response: ModelResponse | None = RESPONSE, request: ModelRequest = REQUEST) -> None:
    run = open_run(spans)
    node = run.node(node="expert", kind="agent", name="expert", attempt=1, at=2.0)
    model = node.model(model=MODEL, request=request, number=1, at=3.0)
    charged = Amounts(usd=Decimal("0.00014"), tokens=120, calls=1)
    model.settled(charged=charged, price=PRICE, response=response)
    model.end(at=4.0)
    node.end(at=5.0)
    run.end(at=6.0, status="completed")


def test_a_run_is_a_workflow_with_its_name_and_id(spans: Spans) -> None:
    open_run(spans).end(at=3.5, status="completed")
    span = spans.ended["invoke_workflow support"]
    assert attributes(span) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "support",
        "treadle.run.id": "r-1",
        "treadle.graph.digest": "d1",
        "treadle.status": "completed",
    }
    assert (span.start_time, span.end_time, span.kind) == (10**9, 3_500_000_000, SpanKind.INTERNAL)


@pytest.mark.parametrize(
    ("kind", "name", "span_kind", "expected"),
    [
        ("agent", "invoke_agent x", SpanKind.INTERNAL, {names.OPERATION: "invoke_agent", names.AGENT: "x"}),
        ("tool", "execute_tool x", SpanKind.INTERNAL, {names.OPERATION: "execute_tool", names.TOOL: "x"}),
        ("retriever", "retrieval x", SpanKind.CLIENT, {names.OPERATION: "retrieval", names.DATA_SOURCE: "x"}),
        ("node", "run_node x", SpanKind.INTERNAL, {}),
        ("human", "ask_person x", SpanKind.INTERNAL, {}),
    ],
)
def test_each_kind_of_node_has_its_span(
    spans: Spans, kind: str, name: str, span_kind: SpanKind, expected: dict[str, str]
) -> None:
    run = open_run(spans)
    run.node(node="x.2", kind=kind, name="x", attempt=3, at=2.0).end(at=3.0)
    span = spans.ended[name]
    seen = attributes(span)
    assert span.kind is span_kind
    assert expected.items() <= seen.items()
    assert (names.OPERATION in seen) == bool(expected)
    assert (seen["treadle.node.id"], seen["treadle.node.kind"], seen["treadle.attempt"]) == ("x.2", kind, 3)


def test_a_model_request_is_a_chat_with_usage_and_cost(spans: Spans) -> None:
    ask(spans)
    span = spans.ended["chat gpt-x"]
    assert span.kind is SpanKind.CLIENT
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "gpt-x-2026",
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 30,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "treadle.request": 1,
        "treadle.cost.usd": 0.00014,
        "treadle.cost.basis": "priced",
        "treadle.price.basis": "genai-prices",
        "treadle.price.version": "1.2",
    }


def test_usage_and_cost_stand_on_the_model_span_alone(spans: Spans) -> None:
    ask(spans)
    for name, span in spans.ended.items():
        counted = [key for key in attributes(span) if "usage" in key or "cost" in key]
        assert bool(counted) == (name == "chat gpt-x")


def test_a_request_without_an_answer_costs_an_estimate(spans: Spans) -> None:
    ask(spans, response=None)
    seen = attributes(spans.ended["chat gpt-x"])
    assert (seen["treadle.cost.usd"], seen["treadle.cost.basis"]) == (0.00014, "estimated")
    assert "gen_ai.usage.input_tokens" not in seen


def test_an_answer_in_a_form_is_json(spans: Spans) -> None:
    form = OutputSpec(name="Reply", schema={"type": "object"})
    ask(spans, request=ModelRequest(messages=(user("x"),), output=form))
    assert attributes(spans.ended["chat gpt-x"])["gen_ai.output.type"] == "json"


def test_the_newest_names_are_used_where_they_are_asked_for(spans: Spans) -> None:
    spans.tracer = OpenTelemetryTracer(spans.provider, vintage=NEWEST)
    ask(spans)
    span = spans.ended["chat gpt-x"]
    assert attributes(span)["gen_ai.usage.cache_write.input_tokens"] == 10
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == NEWEST.schema_url


def test_spans_nest_run_node_step_model(spans: Spans) -> None:
    run = open_run(spans)
    node = run.node(node="expert", kind="agent", name="expert", attempt=1, at=2.0)
    step = node.step(kind="tool", name="find_order", step="find_order#1:0", at=3.0)
    model = step.model(model=MODEL, request=REQUEST, number=1, at=3.5)
    for handle in (model, step, node, run):
        handle.end(at=4.0)
    ended = spans.ended
    order = ["chat gpt-x", "execute_tool find_order", "invoke_agent expert", "invoke_workflow support"]
    assert [parent(ended[name]) for name in order[:3]] == [own(ended[name]) for name in order[1:]]
    assert attributes(ended["execute_tool find_order"])["treadle.step"] == "find_order#1:0"


def test_parallel_nodes_have_the_run_as_parent(spans: Spans) -> None:
    run = open_run(spans)
    one = run.node(node="a", kind="node", name="a", attempt=1, at=2.0)
    with one.current():
        run.node(node="b", kind="node", name="b", attempt=1, at=2.0).end(at=3.0)
    one.end(at=4.0)
    run.end(at=5.0)
    ended = spans.ended
    assert parent(ended["run_node a"]) == parent(ended["run_node b"]) == own(ended["invoke_workflow support"])


def test_a_subgraph_is_a_workflow_from_its_first_node_to_its_last(spans: Spans) -> None:
    run = open_run(spans)
    first = run.node(node="inner/a", kind="node", name="a", attempt=1, at=2.0, scope="inner")
    deep = run.node(node="inner/deep/b", kind="node", name="b", attempt=1, at=3.0, scope="inner/deep")
    first.end(at=4.0)
    deep.end(at=7.0)
    run.end(at=9.0)
    inner, look = spans.ended["invoke_workflow solve"], spans.ended["invoke_workflow look"]
    assert (inner.start_time, inner.end_time) == (2 * 10**9, 7 * 10**9)
    assert parent(look) == own(inner) == parent(spans.ended["run_node a"])
    assert parent(spans.ended["run_node b"]) == own(look)
    assert attributes(look)["treadle.scope.id"] == "inner/deep"


def test_an_error_has_its_class_and_no_words(spans: Spans) -> None:
    run = open_run(spans)
    run.node(node="a", kind="node", name="a", attempt=1, at=2.0).end(at=3.0, error="builtins.ValueError")
    run.end(at=4.0, error="treadle.errors.NodeFailed")
    failed = spans.ended["run_node a"]
    assert attributes(failed)["error.type"] == "ValueError"
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, None)
    assert attributes(spans.ended["invoke_workflow support"])["error.type"] == "treadle.errors.NodeFailed"


def test_a_pause_is_not_an_error(spans: Spans) -> None:
    open_run(spans).end(at=3.0, status="waiting")
    span = spans.ended["invoke_workflow support"]
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span)["treadle.status"] == "waiting"


def test_one_trace_goes_on_after_an_exit(spans: Spans) -> None:
    first = open_run(spans)
    recorded = first.traceparent
    first.end(at=3.0, status="waiting")
    other = OpenTelemetryTracer(spans.provider)  # another process: all it knows is the traceparent
    later = other.run(run_id=RunId("r-1"), graph="g2", digest="d", at=9.0, scopes={}, traceparent=recorded)
    later.node(node="a", kind="node", name="a", attempt=1, at=9.0).end(at=9.5)
    later.end(at=10.0)
    ended = spans.ended
    before, after = ended["invoke_workflow support"], ended["invoke_workflow g2"]
    assert parent(after) == own(before)
    assert len({span.get_span_context().trace_id for span in ended.values()}) == 1
    assert attributes(after)["treadle.resumed"] is True
    assert recorded == f"00-{before.get_span_context().trace_id:032x}-{own(before):016x}-01"


def test_a_run_that_was_not_sampled_stays_so(spans: Spans) -> None:
    open_run(spans, traceparent=f"00-{'a' * 32}-{'b' * 16}-00").end(at=2.0)
    assert spans.ended == {}


def test_a_run_belongs_to_the_span_it_was_started_in(spans: Spans) -> None:
    with spans.provider.get_tracer("app").start_as_current_span("request"):
        open_run(spans).end(at=2.0)
    assert parent(spans.ended["invoke_workflow support"]) == own(spans.ended["request"])


def test_a_users_own_spans_nest_in_the_body_and_nowhere_else(spans: Spans) -> None:
    run = open_run(spans)
    node = run.node(node="a", kind="node", name="a", attempt=1, at=2.0)
    user_tracer = spans.provider.get_tracer("app")
    with node.current(), user_tracer.start_as_current_span("query"):
        pass
    assert trace.get_current_span() is trace.INVALID_SPAN
    node.end(at=3.0)
    assert parent(spans.ended["query"]) == own(spans.ended["run_node a"])


def test_content_is_off_by_default(spans: Spans) -> None:
    ask(spans)
    text = str([attributes(span) for span in spans.ended.values()])
    assert not any(word in text for word in ("secret", "brief", "whisper", "found", "Look it up"))


def test_content_that_is_asked_for_has_the_form_of_the_conventions(
    spans: Spans, conventions: dict[str, str]
) -> None:
    spans.tracer = OpenTelemetryTracer(spans.provider, content=True)
    ask(spans)
    seen = attributes(spans.ended["chat gpt-x"])
    for attribute, file in [
        ("gen_ai.input.messages", "gen-ai-input-messages"),
        ("gen_ai.output.messages", "gen-ai-output-messages"),
        ("gen_ai.system_instructions", "gen-ai-system-instructions"),
        ("gen_ai.tool.definitions", "gen-ai-tool-definitions"),
    ]:
        jsonschema.validate(
            json.loads(str(seen[attribute])), json.loads(conventions[f"docs/gen-ai/{file}.json"])
        )
    assert "secret" in str(seen["gen_ai.input.messages"])
    assert "whisper" in str(seen["gen_ai.output.messages"])


def test_long_content_loses_its_oldest_messages(spans: Spans) -> None:
    spans.tracer = OpenTelemetryTracer(spans.provider, content=True)
    turns = tuple(user(f"{number} " + "x" * 1000) for number in range(200))
    ask(spans, request=ModelRequest(messages=turns))
    text = str(attributes(spans.ended["chat gpt-x"])["gen_ai.input.messages"])
    kept = json.loads(text)
    assert len(text) <= LIMIT
    assert kept[-1]["parts"][0]["content"].startswith("199 ")
    assert 50 < len(kept) < 200
