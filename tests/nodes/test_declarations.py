"""The five kinds of node and graphs, as declared: what the engine and the agent loop read of them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from treadle import (
    Ask,
    Budget,
    Context,
    Passage,
    PlanError,
    Prompt,
    Retriever,
    Retry,
    WiringError,
    agent,
    graph,
    human,
    node,
    tool,
)
from treadle.messages import Message, ModelRequest, ModelResponse, Text, system, user
from treadle.nodes.agent import Agent
from treadle.nodes.human import Human
from treadle.nodes.tool import Tool

anyio = pytest.mark.anyio


class Reply(BaseModel):
    text: str


@node
async def double(x: int, *, times: int = 2) -> int:
    return x * times


@tool
async def find(order_id: str) -> str:
    """Look up an order."""
    return order_id


@tool(effect="once", in_doubt="retry", timeout="5s")
async def pay(ctx: Context, amount: Decimal) -> str:
    """Pay."""
    return f"{ctx.idempotency_key}: {amount}"


@agent(model="auto:small", tools=[find, pay], max_turns=3, instructions="Be brief.")
async def expert(ctx: Context, question: str) -> Prompt[Reply]:
    return Prompt(f"{ctx.run_id}: {question}", system="You help.", history=(user("before"),))


@human(to="leads", within="4h")
async def desk(question: str) -> Ask[Reply]:
    return Ask(f"Answer {question}", show={"q": question})


class Shelf:
    """An index of two passages."""

    async def search(self, query: str, *, k: int) -> list[Passage]:
        made = [
            Passage(text=f"{query}{i}", document="d", digest="0", start=0, end=1, score=1.0, corpus="c")
            for i in range(2)
        ]
        return made[:k]


class FakeContext:
    """As much of a context as these bodies use."""

    idempotency_key = "key-1"
    run_id = "r-1"
    asked: Ask[Any] | None = None
    sent: ModelRequest | None = None
    steps: tuple[Any, ...] = ()

    async def ask(self, question: Ask[Any]) -> Any:
        self.asked = question
        return question.codec.decode(b'{"text": "by hand"}')

    async def index(self, index: Any) -> Any:
        return Shelf() if index == "handbook.sqlite" else index

    async def step(self, callee: Any, *args: Any) -> Any:
        self.steps = (*self.steps, callee)
        self.sent = args[0]
        return ModelResponse(message=Message(role="assistant", parts=(Text(text='{"text": "by a model"}'),)))


async def perform(callee: Any, ctx: FakeContext, **arguments: Any) -> Any:
    return await callee.perform(ctx, arguments)


@anyio
async def test_a_node_calls_its_function() -> None:
    assert await perform(double, FakeContext(), x=2, times=3) == 6
    assert await double.function(2) == 4


@anyio
async def test_a_body_that_takes_a_context_is_given_it_first() -> None:
    assert await perform(pay, FakeContext(), amount=Decimal(2)) == "key-1: 2"
    assert [parameter.name for parameter in pay.parameters] == ["amount"]


def test_plain_is_the_function_where_calling_it_is_all() -> None:
    @tool(effect="once")
    async def once(x: int) -> int:
        """Once."""
        return x

    assert double.plain is double.function
    assert find.plain is find.function
    assert [one.plain for one in (pay, once, expert, desk)] == [None] * 4


def test_parameters_have_codecs_defaults_and_kinds() -> None:
    x, times = double.parameters
    assert (x.name, x.codec.type, x.required, x.keyword_only) == ("x", int, True, False)
    assert (times.required, times.default, times.keyword_only) == (False, 2, True)
    assert double.result.type is int


@anyio
async def test_a_person_is_asked_with_all_that_the_node_says() -> None:
    ctx = FakeContext()
    assert await perform(desk, ctx, question="why?") == Reply(text="by hand")
    assert ctx.asked == Ask("Answer why?", show={"q": "why?"}, to="leads", within=14400, answer=Reply)
    assert (desk.to, desk.within) == ("leads", 14400.0)


def test_a_question_asked_in_passing_says_its_own_type() -> None:
    assert Ask("Fine?", to="leads", within="1h", answer=bool).codec.type is bool
    with pytest.raises(TypeError, match=r"Ask\(\.\.\., answer=bool\)"):
        _ = Ask("Fine?").codec


@anyio
async def test_an_agent_sends_its_prompt_and_reads_the_answer() -> None:
    ctx = FakeContext()
    assert await perform(expert, ctx, question="why?") == Reply(text="by a model")
    assert ctx.sent is not None
    assert ctx.sent.messages == (system("Be brief."), system("You help."), user("before"), user("r-1: why?"))
    assert [tool.name for tool in ctx.sent.tools] == ["find", "pay"]


def test_the_loop_is_given_resolved_policies_and_the_nearest_model() -> None:
    assert (expert.spec.model, expert.spec.max_turns) == ("auto:small", 3)
    changed = expert.using(model="openai:gpt-5", max_turns=9, max_output=100)
    assert (changed.spec.model, changed.spec.max_turns, changed.spec.max_output) == ("openai:gpt-5", 9, 100)
    assert changed.spec.min_output <= 100
    assert expert.spec.max_turns == 3


@anyio
async def test_a_retriever_searches_the_index_the_context_opens() -> None:
    shelf = Retriever("handbook", index="handbook.sqlite")
    found = await perform(shelf, FakeContext(), query="q", k=1)
    assert [passage.text for passage in found] == ["q0"]
    assert shelf.settings == {"index": "handbook.sqlite"}
    own = Retriever("own", index=Shelf())
    assert len(await perform(own, FakeContext(), query="q")) == 2
    assert own.settings == {}


def test_named_and_using_give_new_nodes_and_leave_the_old_one() -> None:
    changed = find.named("lookup").using(retry=Retry(attempts=2), timeout="30s", budget=Budget(calls=1))
    assert isinstance(changed, Tool)
    assert (changed.name, changed.policies.timeout) == ("lookup", 30.0)
    assert (find.name, find.policies.timeout) == ("find", None)
    assert changed.definition == find.definition


def test_effects_are_policies() -> None:
    assert (pay.policies.effect, pay.policies.in_doubt, pay.policies.timeout) == ("once", "retry", 5.0)
    assert pay.using(timeout=9).policies.effect == "once"


def test_a_name_given_to_the_decorator_is_part_of_the_definition() -> None:
    @node(name="twice")
    async def other(x: int) -> int:
        return x

    assert (other.name, other.definition.name) == ("twice", "twice")


def faults_of(callee: Any, *args: Any) -> str:
    def wired() -> Any:
        return callee(*args)

    wired.__annotations__["return"] = Any
    with pytest.raises(PlanError) as caught:
        _ = graph(wired).plan
    return "\n".join(caught.value.faults)


def test_a_tool_without_a_docstring_is_a_fault_wherever_it_is_used() -> None:
    @tool
    async def mute(x: int) -> int:
        return x

    @agent(tools=[mute])
    async def asks() -> Prompt[str]:
        return Prompt("?")

    assert "a tool needs a docstring" in faults_of(mute, 1)
    assert "tool 'mute': a tool needs a docstring" in faults_of(asks)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("opnai:gpt-5", "did you mean 'openai:gpt-5'?"),
        ("auto:smal", "did you mean 'auto:small'?"),
        ("gpt-5", "did you mean 'openai:gpt-5'?"),
        ("openai:", "write 'openai:NAME'"),
    ],
)
def test_an_unknown_model_is_a_fault(model: str, why: str) -> None:
    @agent(model=model)
    async def asks() -> Prompt[str]:
        return Prompt("?")

    assert why in faults_of(asks)
    assert why in faults_of(expert.using(model=model), "q")


def test_two_tools_of_one_name_are_a_fault() -> None:
    @agent(tools=[find, find.using(timeout=1)])
    async def asks() -> Prompt[str]:
        return Prompt("?")

    assert "two of its tools are called 'find'" in faults_of(asks)


def test_a_body_that_returns_the_wrong_wrapper_is_a_fault() -> None:
    async def asks() -> str:
        return "?"

    assert "must be declared `-> Prompt[T]`, not str" in faults_of(agent(asks))  # type: ignore[arg-type]


def test_a_context_that_does_not_come_first_is_a_fault() -> None:
    @node
    async def late(x: int, ctx: Context) -> int:
        return x

    assert "the context comes first" in faults_of(late, 1, None)


def test_bodies_must_be_async_and_graphs_must_not() -> None:
    def body(x: int) -> int:
        return x

    async def wires(x: int) -> int:
        return x

    with pytest.raises(WiringError, match=r"test_declarations.py:\d+: @node .* `async def body"):
        node(body)  # type: ignore[type-var]
    with pytest.raises(WiringError, match="a graph only wires"):
        graph(wires)


@pytest.mark.parametrize(
    "call", [lambda: double(1), lambda: find("a"), lambda: expert("q"), lambda: desk("q")]
)
def test_a_node_called_outside_of_a_graph_says_what_to_write(call: Any) -> None:
    with pytest.raises(WiringError, match=r"ctx\.step\(.*\.function\(.*run\(graph"):
        call()


def test_a_graph_called_outside_of_a_graph_says_what_to_write() -> None:
    @graph
    def wired(x: int) -> int:
        return double(x)

    with pytest.raises(WiringError, match=r"await run\(wired, ...\)"):
        wired(1)
    assert wired.function.__name__ == "wired"


def test_options_that_mean_nothing_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'repeatable', 'once'"):
        tool(effect="twice")  # type: ignore[call-overload]
    with pytest.raises(WiringError, match="asks nobody"):
        human(to="")
    with pytest.raises(WiringError, match="not a duration"):
        node(timeout="soon")
    with pytest.raises(WiringError, match="without `/`"):
        double.named("a/b")


def test_a_graph_takes_its_inputs_with_defaults_and_all_complaints_at_once() -> None:
    @graph
    def wired(x: int, reply: Reply, times: int = 3) -> int:
        return double(x, times=times)

    bound = wired.bind((1,), {"reply": Reply(text="a")})
    assert {name: payload.json() for name, payload in bound.items()} == {
        "x": 1,
        "reply": {"text": "a"},
        "times": 3,
    }
    with pytest.raises(PlanError) as caught:
        wired.bind(("1",), {"times": 1, "tmies": 2})
    assert len(caught.value.faults) == 3


class Scripted:
    """A model object as far as declarations look at it."""

    name = "m"
    provider = "scripted"
    price = None

    async def complete(self, request: ModelRequest) -> ModelResponse:
        raise AssertionError(request)

    def input_bound(self, messages: Any, request: ModelRequest) -> int:
        return 0


def test_a_model_object_reaches_every_agent_that_was_not_given_its_own() -> None:
    small, own = Scripted(), Scripted()

    @graph
    def inner(question: str) -> Reply:
        return expert(question)

    @graph
    def outer(question: str) -> list[Reply]:
        return [inner(question), expert(question), expert.using(model=own)(question)]

    nodes = outer.using(model=small).plan.by_id
    agents = [one.callee for one in nodes.values() if isinstance(one.callee, Agent)]
    assert [one.spec.model for one in agents] == [small, small, own]
    assert {one.policies.model for one in nodes.values() if one.kind == "agent"} == {"scripted:m"}
    assert all(one.definition.model == "auto:small" for one in agents)


def test_the_signature_is_read_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    @node
    async def later(x: Later) -> int:  # noqa: F821 - it is defined after this
        return x.y

    monkeypatch.setitem(globals(), "Later", type("Later", (BaseModel,), {"__annotations__": {"y": int}}))
    assert later.parameters[0].codec.type is globals()["Later"]
    assert later.named("b").parameters is later.parameters


def test_settings_are_plain_data() -> None:
    def plain(data: Any) -> bool:
        if isinstance(data, Mapping):
            return all(isinstance(key, str) and plain(value) for key, value in data.items())
        return all(map(plain, data)) if isinstance(data, list) else isinstance(data, str | int | float)

    assert all(plain(one.settings) for one in (double, find, pay, expert, desk))
    assert isinstance(desk, Human)
