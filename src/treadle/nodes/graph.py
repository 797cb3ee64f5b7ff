"""``@graph``: a plain function that wires nodes, and its plan."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, Protocol, Self, cast, get_args, overload

from typing_extensions import Unpack

from treadle.budget import Budget
from treadle.errors import PlanError, ResultRefused, WiringError, nearest
from treadle.interfaces import Model
from treadle.nodes.node import Changes, P, R, budget_faults, changed, model_faults, name_of, policies_of
from treadle.nodes.options import check_name, check_names, object_faults
from treadle.nodes.signature import Signature
from treadle.plan import storable
from treadle.plan.arguments import bound
from treadle.plan.build import build
from treadle.plan.parts import Definition, Parameter, Policies
from treadle.plan.plan import Plan
from treadle.plan.ref import refuse, told
from treadle.plan.where import where
from treadle.plan.wiring import current
from treadle.retry import Retry
from treadle.values import Codec, Payload

OnFailure = Literal["drain", "cancel"]


class Graph(Generic[P, R]):
    """A declared graph: what ``run`` and ``Engine`` execute, and a node inside other graphs.

    Attributes:
        policies: What its nodes inherit where they say nothing; the budget is the graph's own.
        on_failure: What happens to running attempts when the graph's result has failed.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Signature,
        policies: Policies,
        name: str,
        on_failure: OnFailure,
    ) -> None:
        self._function = function
        self._signature = signature
        self._declared_name = name
        self._name = name
        self._lock = threading.RLock()
        self._is_being_wired = False
        self._under: tuple[str | Model, Self] | None = None
        self.live_model: Model | None = None
        self.policies = policies
        self.on_failure: OnFailure = on_failure
        self.__doc__ = function.__doc__
        self.__name__ = name
        self.__module__ = function.__module__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wire the graph inside the graph that is being wired.

        Raises:
            WiringError: Called anywhere else.
        """
        frame = current()
        if frame is None:
            refuse(
                f"graph {self._name!r} was called, which runs nothing",
                f"write `await run({self._name}, ...)`, or `await engine.start({self._name}, ...)` to "
                "keep it",
            )
        return cast("R", frame.enter(self, args, kwargs))

    def __repr__(self) -> str:
        return f"<graph {self._name}>"

    @property
    def name(self) -> str:
        """What it is registered and recorded under."""
        return self._name

    @property
    def function(self) -> Callable[P, R]:
        """The plain function."""
        return self._function

    @functools.cached_property
    def definition(self) -> Definition:
        """What it is as a step of a body, or as a tool: half of the identity of its results."""
        parameters, result = self._signature.digests
        return Definition(kind="graph", name=self._declared_name, parameters=parameters, result=result)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The inputs of a run."""
        return self._signature.parameters

    @property
    def result(self) -> Codec[Any]:
        """Writes and reads the result of a run."""
        return self._signature.result

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the signature, inputs that cannot be stored, and an unknown model."""
        found = list(self._signature.faults)
        for parameter in self.parameters:
            complaint = storable.complaint(parameter.codec.type)
            if complaint:
                found.append(f"input {parameter.name!r} cannot be stored: {complaint}")
        if self.policies.model is not None and self.live_model is None:
            found.extend(model_faults(self.policies.model))
        found.extend(object_faults(self.live_model))
        found.extend(budget_faults(self.policies.budget))
        return tuple(found)

    @property
    def plan(self) -> Plan:
        """The plan, wired at the first use and the same from then on.

        Raises:
            WiringError: The function used a stand-in as if it were a value.
            PlanError: The wiring is wrong; all faults at once.
        """
        with self._lock:
            return self._plan

    @functools.cached_property
    def _plan(self) -> Plan:
        if self._is_being_wired:
            refuse(
                f"graph {self._name!r} contains itself: one of its agents has it for a tool",
                "give that agent a graph of its own",
            )
        self._is_being_wired = True
        try:
            return build(self, self.on_failure)
        finally:
            self._is_being_wired = False

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Payload]:
        """Take the inputs of a run: one payload for each parameter, defaults filled in.

        Raises:
            PlanError: Inputs are missing, unknown, or do not fit their types; all at once.
        """
        faults: list[str] = []
        parameters = self.parameters
        given = {one.name: value for one, value in bound(parameters, args, kwargs, faults.append)}
        payloads: dict[str, Payload] = {}
        for parameter in parameters:
            if parameter.name not in given and parameter.required:
                continue
            value = given.get(parameter.name, parameter.default)
            try:
                payloads[parameter.name] = parameter.codec.pack(value)
            except ResultRefused as error:
                faults.append(f"{parameter.name!r}: {error}")
        if faults:
            raise PlanError(f"graph {self._name!r} cannot start: {'; '.join(faults)}", faults)
        return payloads

    def named(self, name: str) -> Self:
        """Give the graph under another name."""
        check_name("graph", name)
        return self._changed(_name=name)

    def using(self, **changes: Unpack[Changes]) -> Self:
        """Give the graph with other policies; ``model`` replaces the declared model of every agent
        in it that was not given another one by ``using`` itself, those that its agents call among them.

        Raises:
            WiringError: An option is unknown, or of another type.
        """
        check_names(f"graph {self._name!r}", changes)
        made = self._changed(policies=changed(self.policies, changes))
        model = changes.get("model")
        if model is not None:
            made.live_model = None if isinstance(model, str) else model
        return made

    def under(self, model: str | Model) -> Self:
        """Give the graph as a body of a graph calls it that was given a model: the same each time."""
        if self.policies.model is not None:
            return self
        if self._under is None or self._under[0] is not model:
            self._under = (model, self.using(model=model))
        return self._under[1]

    def _changed(self, **attributes: object) -> Self:
        made = copy.copy(self)
        made.__dict__.pop("_plan", None)
        made.__dict__.update(attributes, _lock=threading.RLock(), _under=None)
        return made


class _Decorator(Protocol):
    def __call__(self, function: Callable[P, R], /) -> Graph[P, R]: ...


@overload
def graph(function: Callable[P, R], /) -> Graph[P, R]: ...
@overload
def graph(
    *,
    name: str | None = None,
    budget: Budget | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    on_failure: OnFailure = "drain",
) -> _Decorator: ...


@told("@graph")
def graph(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    budget: Budget | None = None,
    retry: Retry | None = None,
    timeout: float | str | None = None,
    idle: float | str | None = None,
    on_failure: OnFailure = "drain",
) -> Any:
    """Declare a graph: a plain ``def`` that wires nodes; ``def`` wires, ``async def`` works.

    The function is called once, with stand-ins, at the first use of the plan; it must be
    deterministic.  Nothing runs while it is called.

    Args:
        function: The function that wires.
        name: Another name than the function's; runs are recorded under it.
        budget: What one run (or one use as a subgraph) may consume.
        retry: For nodes that declare none.
        timeout: Of one attempt, for nodes that declare none.
        idle: How long an attempt may go without a sign of life, for nodes that declare none.
        on_failure: When the result has failed: ``"drain"`` lets running attempts finish, which are
            paid for; ``"cancel"`` does not.

    Example::

        @graph(budget=Budget(usd="0.20"))
        def support(ticket: Ticket) -> Reply:
            t = triage(ticket)
            return when(t.is_easy, quick(ticket), desk(ticket))

    Raises:
        WiringError: The function is an ``async def`` or no function, or an option is not what is wanted.
    """

    if on_failure not in get_args(OnFailure):
        hint = nearest(on_failure, get_args(OnFailure)) if isinstance(cast("object", on_failure), str) else ""
        refuse(f"on_failure={on_failure!r} says nothing known{hint}", "write 'drain' or 'cancel'")
    policies = policies_of(retry=retry, timeout=timeout, idle=idle, budget=budget)

    def declare(body: Callable[..., Any]) -> Graph[..., Any]:
        if not callable(body):
            refuse(f"@graph stands over {body!r}, which is no function", "put it over `def main(...):`")
        label = name_of(body, name)
        if inspect.iscoroutinefunction(body):
            raise WiringError(
                f"{where()}: @graph stands over {label!r}, which is an `async def`; a graph only wires: "
                f"write `def {label}(...)` and drop every `await`, or declare it a @node"
            )
        return Graph(body, Signature(body), policies, label, on_failure)

    return declare if function is None else declare(function)
