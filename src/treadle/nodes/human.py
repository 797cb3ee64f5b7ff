"""``@human``: a node whose result a person gives."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Protocol, cast, overload

from treadle import durations
from treadle.interfaces import Ask, Context
from treadle.nodes.node import Node, P, R, name_of
from treadle.nodes.options import check_values
from treadle.nodes.signature import Signature, check_async
from treadle.plan.parts import DEFAULT, Policies, WorkKind
from treadle.plan.ref import refuse, told


class Human(Node[P, R]):
    """A node that asks a person, and waits at no cost until they have answered.

    Attributes:
        to: Who is asked: a person or a group, by name.
        within: Seconds in which the answer is due, or ``None`` for ever.
    """

    def __init__(
        self, function: Callable[..., Any], policies: Policies, name: str, *, to: str, within: float | None
    ) -> None:
        super().__init__(function, Signature(function, Ask), policies, name)
        self.to = to
        self.within = within

    @property
    def function(self) -> Callable[..., Coroutine[Any, Any, Ask[R]]]:
        """The plain function, for unit tests."""
        return self._function

    @property
    def kind(self) -> WorkKind:
        """Which of the five kinds it is."""
        return "human"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Who is asked, and by when."""
        return {"to": self.to} if self.within is None else {"to": self.to, "within": self.within}

    async def question(self, ctx: Context, arguments: Mapping[str, Any]) -> Ask[Any]:
        """Evaluate the body to the question, with all that the node says filled in.

        Raises:
            ResultRefused: The body gave something else.
        """
        ask: Ask[Any] = await self.evaluate_to(Ask, ctx, arguments)
        return ask.addressed(to=self.to, within=self.within, answer=self.result.type)

    async def perform(self, ctx: Context, arguments: Mapping[str, Any]) -> Any:
        """Ask, and give the answer."""
        question = await self.question(ctx, arguments)
        return await ctx.ask(question)


class _Decorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, Ask[R]]], /
    ) -> Human[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, Ask[R]]], /) -> Human[P, R]: ...


@told("@human")
def human(*, to: str, within: float | str | None = None, name: str | None = None) -> _Decorator:
    """Declare a node that a person computes: the type of the answer is the form they fill in.

    While it waits the run needs no task and no memory, and survives the process.

    Args:
        to: Who is asked: a person or a group, by name.
        within: When the answer is due, in seconds or as ``"4h"``; ``None`` waits for ever.
        name: Another name than the function's; part of the identity of its answers.

    Example::

        @human(to="support-leads", within="4h")
        async def desk(ticket: Ticket) -> Ask[Reply]:
            return Ask(f"Answer {ticket.customer}", show=ticket)

    Raises:
        WiringError: The body is no ``async def``, ``within`` is no length of time, or ``to`` names nobody.
    """
    if not isinstance(cast("object", to), str) or not to:
        refuse(f"@human(to={to!r}) asks nobody", "name a person or a group, as in to='support-leads'")
    check_values({"within": within})
    due = None if within is None else durations.seconds(within)

    def declare(body: Callable[..., Any]) -> Any:
        check_async(body, "human")
        made: Human[..., Any] = Human(body, DEFAULT, name_of(body, name), to=to, within=due)
        return made

    return declare
