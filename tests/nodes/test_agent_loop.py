"""The agent loop on a context that does what the engine does, without recording."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, cast

import anyio
import pytest
from pydantic import BaseModel

from treadle import values
from treadle.errors import (
    AgentStopped,
    BudgetExceeded,
    HistoryMismatch,
    InDoubt,
    NodeFailed,
    RateLimited,
    TreadleError,
)
from treadle.ids import RunId
from treadle.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    system,
    user,
)
from treadle.nodes.agent_loop import AgentSpec, converse
from treadle.nodes.tool import tool
from treadle.plan.parts import Callee, Policies
from treadle.retry import Retry
from treadle.testing import ScriptedModel, call

pytestmark = pytest.mark.anyio

INDOUBT = InDoubt("began", step="s", idempotency_key="k")
SHORT = BudgetExceeded(
    "the tool's budget is short", account="node search", measure="usd",
    limit=Decimal(1), held=Decimal(0), spent=Decimal(1), needed=Decimal(1),
)  # fmt: skip


class Parked(BaseException):
    """Stands for the engine's signal that every pending call waits for a person."""


class Direct:
    """A context that makes each call at once, and turns failures of bodies into ``NodeFailed``."""

    run_id = RunId("r-1")
    attempt = 1
    idempotency_key = "key"
    random = random.Random(1)

    def __init__(self) -> None:
        self.stepped: list[str] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    def progress(self, message: str, fraction: float | None = None) -> None: ...

    def resource(self, kind: type[Any]) -> Any:
        raise LookupError(kind)

    async def ask(self, question: Any) -> Any:
        raise NotImplementedError

    async def step(self, node: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        callee = cast("Callee", node)
        self.stepped.append(callee.name)
        arguments = {**dict(zip([p.name for p in callee.parameters], args, strict=False)), **kwargs}
        for parameter in callee.parameters:
            if parameter.name in arguments:
                parameter.codec.pack(arguments[parameter.name])
        if callee.definition.kind == "model":
            return callee.result.pack(await cast("Any", callee).model.complete(*args)).value
        try:
            return await callee.perform(self, arguments)
        except TreadleError:
            raise
        except Exception as error:
            raise NodeFailed(f"{callee.name} raised {type(error).__name__}: {error}") from error


class Reply(BaseModel):
    text: str
    amount: Decimal = Decimal(0)


@tool
async def find(key: str, limit: int = 3) -> list[str]:
    """Look a key up.

    Args:
        key: What to look for.
        limit: How many at most.
    """
    return [key] * limit


@tool
async def refund(amount: Decimal) -> str:
    """Pay something back."""
    if amount > 100:
        raise PermissionError("too much")
    return f"refunded {amount}"


def raising(name: str, error: BaseException) -> Any:
    async def body() -> str:
        raise error

    body.__doc__ = "Fail."
    return tool(name=name)(body)


async def converses(
    answers: Any, *, result: Any = str, tools: Sequence[Any] = (), ctx: Direct | None = None, **options: Any
) -> tuple[Any, ScriptedModel]:
    model = ScriptedModel(answers)
    spec = AgentSpec(name="helper", model=model, result=values.codec(result), tools=tuple(tools), **options)
    return await converse(cast("Any", ctx or Direct()), spec, (user("help"),)), model


def told(model: ScriptedModel, request: int = 1) -> list[ToolResult]:
    """The tool results in the last message of a request."""
    return [part for part in model.requests[request].messages[-1].parts if isinstance(part, ToolResult)]


async def test_plain_text_is_the_answer_of_a_str_agent() -> None:
    answer, model = await converses(["sure"])
    assert answer == "sure"
    assert model.requests[0] == ModelRequest(messages=(user("help"),))


async def test_an_answer_is_validated_into_its_type() -> None:
    answer, model = await converses([Reply(text="ok", amount=Decimal("1.10"))], result=Reply)
    assert answer == Reply(text="ok", amount=Decimal("1.10"))
    output = model.requests[0].output
    assert output is not None
    assert (output.name, set(output.schema["properties"])) == ("Reply", {"text", "amount"})


@pytest.mark.parametrize(
    ("declared", "value"),
    [(list[int], [1, 2]), (Literal["low", "high"], {"answer": "low"}), (Reply | None, None),
     (dict[str, int], {"answer": {"a": 1}}), (bool, True)],
)  # fmt: skip
async def test_what_is_no_object_is_wrapped_into_one(declared: Any, value: object) -> None:
    answer, _ = await converses([value], result=declared)
    assert answer == (value["answer"] if isinstance(value, dict) else value)


async def test_an_answer_in_a_code_block_is_read() -> None:
    answer, _ = await converses(['```json\n{"text": "ok"}\n```'], result=Reply)
    assert answer == Reply(text="ok")


async def test_an_invalid_answer_is_asked_for_once_more_with_the_complaint() -> None:
    answer, model = await converses(['{"txt": "x"}', '{"text": "x"}'], result=Reply)
    assert answer == Reply(text="x")
    assert "text: Field required" in model.requests[1].messages[-1].text
    assert model.requests[1].messages[1].text == '{"txt": "x"}'


async def test_a_second_invalid_answer_stops_the_agent() -> None:
    with pytest.raises(AgentStopped, match="no valid answer, even when asked again: text: Field required"):
        await converses(["{}", "{}", "{}"], result=Reply)


async def test_tools_run_and_their_results_come_back_in_the_models_order() -> None:
    second_is_done = anyio.Event()

    @tool
    async def slow() -> str:
        """Wait for the other."""
        await second_is_done.wait()
        return "slow"

    @tool
    async def quick() -> str:
        """Be quick."""
        second_is_done.set()
        return "quick"

    answer, model = await converses([[call("slow"), call("quick")], "done"], tools=[slow, quick])
    assert answer == "done"
    assert [result.content for result in told(model)] == ["slow", "quick"]
    assert model.requests[1].messages[:2] == (user("help"), model.requests[1].messages[1])


async def test_arguments_arrive_in_their_declared_types() -> None:
    answer, model = await converses([[call("refund", amount="12.50"), call("find", key="a")], "ok"],
                                    tools=[refund, find])  # fmt: skip
    assert [result.content for result in told(model)] == ["refunded 12.50", '["a","a","a"]']
    assert answer == "ok"


async def test_a_failing_tool_is_told_and_the_others_are_kept() -> None:
    answer, model = await converses(
        [[call("refund", amount=500), call("refund", amount=5)], "sorry"], tools=[refund]
    )
    failed, fine = told(model)
    assert (answer, fine.content, fine.is_error) == ("sorry", "refunded 5", False)
    assert failed.is_error
    assert failed.content == "refund failed: refund raised PermissionError: too much"


@pytest.mark.parametrize(
    "error", [SHORT, RateLimited("slow", provider="p"), AgentStopped("no"), NodeFailed("x"), ValueError("x")]
)
async def test_failures_a_model_can_work_around_are_told(error: Exception) -> None:
    answer, model = await converses([call("search"), "ok"], tools=[raising("search", error)])
    assert answer == "ok"
    assert told(model)[0].content.startswith("search failed: ")


@pytest.mark.parametrize("error", [INDOUBT, HistoryMismatch("differs")])
async def test_what_is_not_for_a_model_ends_the_agent_after_the_others(error: TreadleError) -> None:
    ctx = Direct()
    with pytest.raises(type(error)) as caught:
        await converses(
            [[call("pay"), call("find", key="a")], "never"], tools=[raising("pay", error), find], ctx=ctx
        )
    assert caught.value is error
    assert sorted(ctx.stepped) == ["find", "pay", "scripted:scripted"]


@pytest.mark.parametrize("calls", [[call("ask")], [call("ask"), call("ask")]])
async def test_a_signal_of_the_engine_passes_through_bare(calls: list[ToolCall]) -> None:
    with pytest.raises(Parked):
        await converses([calls, "never"], tools=[raising("ask", Parked())])


async def test_a_cancellation_passes_through() -> None:
    @tool
    async def wait() -> str:
        """Wait for ever."""
        scope.cancel()
        await anyio.sleep_forever()
        return ""

    with anyio.CancelScope() as scope:
        await converses([[call("wait"), call("wait")], "never"], tools=[wait])
    assert scope.cancelled_caught


async def test_an_unknown_tool_is_answered_with_the_nearest_name() -> None:
    _, model = await converses([call("fnid", key="a"), "ok"], tools=[find, refund])
    assert told(model)[0].content == "no tool 'fnid'; did you mean 'find'?; the tools are: find, refund"
    assert told(model)[0].is_error


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("{", "EOF"),
        ("[1]", "one JSON object"),
        ('{"kee": "a"}', "no argument 'kee'; did you mean 'key'?; 'key' is missing"),
        ('{"key": "a", "limit": "many"}', "'limit': value: Input should be a valid integer"),
    ],
)
async def test_invalid_arguments_are_answered_with_the_complaint(arguments: str, complaint: str) -> None:
    ctx = Direct()
    wrong = ToolCall(id="c", name="find", arguments=arguments)
    _, model = await converses([wrong, "ok"], tools=[find], ctx=ctx)
    assert complaint in told(model)[0].content
    assert ctx.stepped == ["scripted:scripted"] * 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Message(role="assistant", parts=(Refusal(text="no"),)), "refused to answer"),
        (ModelResponse(message=Message(role="assistant", parts=(Text(text=""),)), stop="filter"), "filter"),
        ("x" * 100, "max_output is 10 tokens"),
    ],
)
async def test_an_answer_that_stopped_short_says_what_to_do(answer: object, said: str) -> None:
    with pytest.raises(AgentStopped, match=said):
        await converses([answer], max_output=10)


async def test_turns_run_out_before_tools_that_nobody_would_read() -> None:
    ctx = Direct()
    with pytest.raises(AgentStopped, match="made its 2 requests without a final answer; raise max_turns"):
        await converses([call("find", key="a")] * 2, tools=[find], ctx=ctx, max_turns=2)
    assert ctx.stepped == ["scripted:scripted", "find", "scripted:scripted"]


async def test_later_requests_only_add_to_the_first() -> None:
    _, model = await converses(
        [call("find", key="a"), call("find", key="b"), "ok"], tools=[find], instructions="be kind"
    )
    first, second, third = (values.JSON.encode(_plain(request)) for request in model.requests)
    assert second.startswith(first[:-1])
    assert third.startswith(second[:-1])
    assert model.requests[0].messages[0] == system("be kind")


def _plain(request: ModelRequest) -> list[Any]:
    """Tools first, as providers cache them."""
    data = values.codec(ModelRequest).adapter.dump_python(request, mode="json")
    return [data["tools"], data["output"], *data["messages"]]


async def test_the_model_call_carries_what_the_engine_needs() -> None:
    retry = Retry(attempts=2)
    spec = AgentSpec(
        name="a", model="auto:small", result=values.codec(str), policies=Policies(retry=retry), max_output=9
    )
    step = spec.call
    assert (step.name, step.definition.kind, step.definition.model) == ("auto:small", "model", "auto:small")
    assert (step.model, step.max_output, step.policies.retry) == ("auto:small", 9, retry)
    assert [parameter.name for parameter in step.parameters] == ["request"]
