"""What all node objects share: calling them while wiring, naming them, giving them policies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Generic, ParamSpec, Self, TypedDict, TypeVar, cast

from typing_extensions import Unpack

from treadle import durations, weights
from treadle.budget import Budget
from treadle.errors import ResultRefused
from treadle.interfaces import Context, Model
from treadle.messages import model_complaint
from treadle.nodes.options import check_name, check_names, check_values
from treadle.nodes.signature import Signature
from treadle.plan.parts import DEFAULT, Definition, Parameter, Policies, WorkKind
from treadle.plan.ref import refuse
from treadle.plan.where import defined_at
from treadle.plan.wiring import current
from treadle.retry import Retry
from treadle.values import Codec, short

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

NO_SETTINGS: Final[Mapping[str, Any]] = {}


class Changes(TypedDict, total=False):
    """What ``.using`` can set; durations are seconds or text such as ``"30s"``."""

    model: str | Model
    retry: Retry
    timeout: float | str
    idle: float | str
    budget: Budget
    max_turns: int
    max_output: int
    min_output: int
    max_calls: int
    max_result: int


class Node(Generic[P, R]):
    """A declared unit of work; calling it inside a graph draws wires, and runs nothing.

    Attributes:
        policies: Its own, as declared and by ``using``; while wiring those around it are added.
        around: The model that a graph around it was given, for the agents that it calls.
    """

    def __init__(
        self, function: Callable[..., Any], signature: Signature, policies: Policies, name: str
    ) -> None:
        self._function = function
        self._signature = signature
        self._declared_name = name
        self._name = name
        self._live_model: Model | None = None
        self._under: tuple[str | Model, Self] | None = None
        self._definition: Definition | None = None
        self.around: str | Model | None = None
        self.policies = policies
        self.__doc__ = function.__doc__
        self.__name__ = name
        self.__module__ = function.__module__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record a call of the node in the graph that is being wired.

        Raises:
            WiringError: Called anywhere else.
        """
        frame = current()
        if frame is None:
            refuse(
                f"{self.kind} {self._name!r} was called outside of a graph",
                f"inside a function under @graph it is wired; inside a body write "
                f"`await ctx.step({self._name}, ...)`, in a unit test `await {self._name}.function(...)`, "
                "and to run a graph `await run(graph, ...)`",
            )
        return cast("R", frame.call(self, args, kwargs))

    def __repr__(self) -> str:
        return f"<{self.kind} {self._name}>"

    @property
    def kind(self) -> WorkKind:
        """Which of the five kinds it is."""
        return "node"

    @property
    def name(self) -> str:
        """What it is called in plans; ``named`` changes it."""
        return self._name

    @property
    def function(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The plain function, for unit tests."""
        return self._function

    @property
    def definition(self) -> Definition:
        """What it is, whatever it is called: half of the identity of its results."""
        if self._definition is None:
            parameters, result = self._signature.digests
            self._definition = Definition(
                kind=self.kind,
                name=self._declared_name,
                parameters=parameters,
                result=result,
                model=self._declared_model,
            )
        return self._definition

    @property
    def _declared_model(self) -> str:
        return ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What wires can be drawn to."""
        return self._signature.parameters

    @property
    def result(self) -> Codec[Any]:
        """Writes and reads what it gives."""
        return self._signature.result

    @property
    def takes_context(self) -> bool:
        """Whether the body is given ``ctx`` first."""
        return self._signature.takes_context

    @property
    def settings(self) -> Mapping[str, Any]:
        """What else its kind declares, as JSON data: part of the plan."""
        return NO_SETTINGS

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the declaration; a plan that uses it is refused."""
        return (*self._signature.faults, *budget_faults(self.policies.budget))

    @property
    def plain(self) -> Callable[..., Any] | None:
        """The async function itself where calling it is all there is to do."""
        return None

    def evaluate(self, ctx: Context, arguments: Mapping[str, Any]) -> Coroutine[Any, Any, Any]:
        """Call the body alone: a value, a ``Prompt`` or an ``Ask``."""
        body: Callable[..., Coroutine[Any, Any, Any]] = self._function
        return body(ctx, **arguments) if self._signature.takes_context else body(**arguments)

    async def evaluate_to(self, wanted: type[Any], ctx: Context, arguments: Mapping[str, Any]) -> Any:
        """Call a body that has to give a ``Prompt`` or an ``Ask``.

        Raises:
            ResultRefused: It gave something else.
        """
        given = await self.evaluate(ctx, arguments)
        if isinstance(given, wanted):
            return given
        shown = "None" if given is None else f"{short(given)} ({type(given).__name__})"
        raise ResultRefused(
            f"{defined_at(self._function)}: {self.kind} {self._name!r} returned {shown}; its body asks and "
            f"does not answer: write `return {wanted.__name__}(...)`"
        )

    def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Coroutine[Any, Any, Any]:
        """Run the body with everything around it that belongs to its kind."""
        return self.evaluate(ctx, arguments)

    def named(self, name: str) -> Self:
        """Give the node under another name in plans; what it is stays the same."""
        check_name("node", name)
        return self._changed(_name=name)

    def using(self, **changes: Unpack[Changes]) -> Self:
        """Give the node with other policies; they are part of the plan.

        Args:
            changes: ``retry``, ``timeout``, ``idle``, ``budget``; for agents ``model``, ``max_turns``,
                ``max_output``, ``min_output``; for what an agent calls ``max_calls``, ``max_result``.

        Raises:
            WiringError: An option is unknown, does not suit this kind, or is of another type.
        """
        check_names(f"{self.kind} {self._name!r}", changes, self.kind)
        model = changes.get("model")
        policies = changed(self.policies, changes)
        if model is None:
            return self._changed(policies=policies)
        return self._changed(policies=policies, _live_model=None if isinstance(model, str) else model)

    def resolved(self, policies: Policies, model: Model | None, around: str | Model | None = None) -> Self:
        """Give the node with policies that take those of the graphs around it into account.

        Args:
            policies: With all that it inherits.
            model: The live object behind ``policies.model``, where it comes from a graph.
            around: The model that the graphs around it were given, for whom it calls; ``None`` for none.
        """
        live = self._live_model if model is None else model
        return self._changed(policies=policies, _live_model=live, around=around)

    def under(self, model: str | Model) -> Self:
        """Give the node as a body of a graph calls it that was given a model: the same each time."""
        if self._under is None or self._under[0] is not model:
            self._under = (model, self._put_under(model))
        return self._under[1]

    def _put_under(self, model: str | Model) -> Self:
        return self._changed(around=model)

    def _changed(self, **attributes: object) -> Self:
        made = copy.copy(self)
        made.__dict__.update(attributes, _under=None, _definition=None)
        return made


def changed(policies: Policies, changes: Changes) -> Policies:
    """Give policies with some of them set to something else."""
    check_values(changes)
    model = changes.get("model")
    return Policies(
        retry=changes.get("retry", policies.retry),
        timeout=durations.seconds(changes["timeout"]) if "timeout" in changes else policies.timeout,
        idle=durations.seconds(changes["idle"]) if "idle" in changes else policies.idle,
        budget=changes.get("budget", policies.budget),
        effect=policies.effect,
        in_doubt=policies.in_doubt,
        model=policies.model if model is None else model_name(model),
        max_turns=changes.get("max_turns", policies.max_turns),
        max_output=changes.get("max_output", policies.max_output),
        min_output=changes.get("min_output", policies.min_output),
        max_calls=changes.get("max_calls", policies.max_calls),
        max_result=changes.get("max_result", policies.max_result),
    )


def policies_of(
    *,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    budget: Budget | None = None,
    max_turns: int | None = None,
    max_output: int | None = None,
    min_output: int | None = None,
    max_calls: int | None = None,
    max_result: int | None = None,
) -> Policies:
    """Make the policies a decorator was given."""
    check_values(
        {
            "retry": retry,
            "timeout": timeout,
            "idle": idle,
            "budget": budget,
            "max_turns": max_turns,
            "max_output": max_output,
            "min_output": min_output,
            "max_calls": max_calls,
            "max_result": max_result,
        }
    )
    made = Policies(
        retry=retry,
        timeout=None if timeout is None else durations.seconds(timeout),
        idle=None if idle is None else durations.seconds(idle),
        budget=budget,
        max_turns=max_turns,
        max_output=max_output,
        min_output=min_output,
        max_calls=max_calls,
        max_result=max_result,
    )
    return DEFAULT if made == DEFAULT else made


def model_name(model: str | Model) -> str:
    """What a model is called in plans: its name, or ``provider:name`` of an object."""
    if isinstance(model, str):
        return model
    return getattr(model, "declared", "") or f"{model.provider}:{model.name}"


def name_of(function: Callable[..., Any], name: str | None) -> str:
    """The name a decorator was given, else the function's.

    Raises:
        WiringError: It cannot stand in the path of a node.
    """
    found = str(getattr(function, "__name__", "node")) if name is None else name
    check_name("node or graph", found)
    return found


def budget_faults(budget: Budget | None) -> list[str]:
    """Say what is wrong with the model that a budget turns to at its soft limit."""
    if budget is None or budget.on_soft is None:
        return []
    return [f"Budget(on_soft=...): {fault}" for fault in model_faults(budget.on_soft)]


def model_faults(name: str, *, is_asked: bool = True) -> list[str]:
    """Say what is wrong with a model's name, as far as the name shows it; and whether the file of a
    local one is there, unless another model is asked in its place."""
    complaint = model_complaint(name) or (weights.complaint_of(name) if is_asked else "")
    return [complaint] if complaint else []
