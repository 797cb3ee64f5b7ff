"""What the recorder needs of the objects that decorators make: of nodes and of graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, Self

from treadle.interfaces import Model
from treadle.plan.parts import Callee, Parameter, Policies, WorkKind
from treadle.values import Codec


class Declared(Callee, Protocol):
    """A node object as the recorder sees it."""

    @property
    def kind(self) -> WorkKind: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What else the kind declares, as JSON data."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the declaration itself."""
        ...

    def resolved(self, policies: Policies, model: Model | None, around: str | Model | None = None) -> Self:
        """Give the node with policies that take those around it into account.

        ``model`` is the live object behind ``policies.model`` where a graph was given one; ``around`` the
        model that the graphs around were given, for the agents that it calls.
        """
        ...


class Blueprint(Protocol):
    """A graph object as the recorder sees it."""

    @property
    def name(self) -> str: ...

    @property
    def function(self) -> Callable[..., Any]: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    @property
    def result(self) -> Codec[Any]: ...

    @property
    def policies(self) -> Policies: ...

    @property
    def on_failure(self) -> Literal["drain", "cancel"]:
        """What happens to running attempts when the result of a run has failed."""
        ...

    @property
    def live_model(self) -> Model | None:
        """The model object behind ``policies.model``, where it is one."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the declaration itself."""
        ...
