"""What people were asked under earlier plans of a run, and which call takes an answer they gave.

A finished call keeps its answer in its record.  This is of calls that were not: they were answered while
nobody was there to go on, or their body had more to do.  An answer counts once.  A call that asks the very
same takes, in this order:

1. what a person said it takes (``told``);
2. what was answered at its own place, wherever that stands by now;
3. what was answered to the same step of the same node, or to an equal call, whose place the plan no
   longer has.

The third rule must leave one answer, and one call; where it does not, nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from treadle.engine.records import NODE, Identity, Spot, around
from treadle.engine.uncertain import FRESH, path_of
from treadle.errors import Ambiguity
from treadle.events import (
    Event,
    NodeCompleted,
    QuestionAnswered,
    QuestionAsked,
    StepClaimed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from treadle.ids import NodeId, QuestionId, StepId

_ENDS: Final = (NodeCompleted, StepCompleted, StepFailed, StepClaimed)

Answered = Callable[[QuestionId], QuestionAnswered | None]
"""Gives the answer to the newest opening of a question, where there is one."""


class Site(Protocol):
    """The edited plan whose calls ask."""

    def spot(self, node: NodeId) -> Spot: ...

    def at(self, spot: Spot) -> NodeId | None: ...

    def identity(self, node: NodeId) -> Identity | None: ...

    def pending(self, definition: str) -> Sequence[NodeId | None]: ...

    def unfinished(self, definition: str) -> Iterable[NodeId]:
        """Its nodes of a definition that have not been completed."""
        ...


class Past(Protocol):
    """What is known of earlier plans."""

    told: Mapping[str, str]

    @property
    def site(self) -> Site | None: ...

    def is_left(self, spot: Spot, then: Identity) -> bool:
        """Whether what stood at a spot stands there no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A question of an earlier plan.

    Attributes:
        spot: Where its node stood, which was ``node``.
        call: What the call was whose body asked; the node itself, or a step of it.
    """

    asked: QuestionAsked
    spot: Spot
    node: Identity | None
    call: Identity | None

    @property
    def path(self) -> str:
        """What the call that asked was called."""
        return path_of(self.asked.node, around(self.asked.step))

    @property
    def labels(self) -> tuple[str, ...]:
        """What a person may name it by."""
        return self.asked.node, self.path, path_of(self.asked.node, self.asked.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An answer that a call takes."""

    former: Former
    answer: QuestionAnswered


class FormerQuestions:
    """The questions of earlier plans, and those of them whose answers have counted."""

    def __init__(self) -> None:
        self._known: dict[QuestionId, Former] = {}
        self._asked_now: set[QuestionId] = set()
        self._open_now: dict[QuestionId, QuestionAsked] = {}
        self._over_now: list[tuple[NodeId, StepId]] = []
        self._copies: dict[QuestionId, QuestionId] = {}
        self._consumed: set[QuestionId] = set()
        self._at_home: dict[QuestionId, NodeId] = {}
        self._effects: dict[tuple[NodeId, StepId], str] = {}
        self._doubts: dict[str, QuestionId] = {}

    # -- what happened -----------------------------------------------------------------------------------

    def see(self, event: Event) -> None:
        """Take in an event under the plan that the run has, or had at that time."""
        if isinstance(event, QuestionAsked):
            self._asked_now.add(event.question)
            if event.about == "answer":
                self._open_now[event.question] = event
            elif (event.node, around(event.step)) in self._effects:
                self._doubts[self._effects[event.node, around(event.step)]] = event.question
            if event.former:
                self._copies[event.question] = event.former
        elif isinstance(event, QuestionAnswered) and event.question in self._copies:
            self._consumed.add(self._copies[event.question])
        elif isinstance(event, StepStarted) and event.once:
            self._effects[event.node, event.step] = event.idempotency_key
        elif isinstance(event, _ENDS) and (self._known or self._open_now):
            self._over(event.node, NODE if isinstance(event, NodeCompleted) else event.step)

    def _over(self, node: NodeId, step: StepId) -> None:
        asked = [one for one in self._open_now.values() if one.node == node and _is_in(one.step, step)]
        for one in asked:
            del self._open_now[one.question]
        if self._known:
            self._over_now.append((node, step))

    def leave(self, place: Callable[[QuestionAsked], Former], spot: Callable[[NodeId], Spot]) -> None:
        """Note that another plan came.

        Args:
            place: Tells where a question was asked under the plan that is left.
            spot: Tells where a node of it stood.
        """
        for node, step in self._over_now:
            self._forget(spot(node), step)
        for question, asked in self._open_now.items():
            self._known[question] = place(asked)
        self._open_now.clear()
        self._asked_now.clear()
        self._over_now.clear()

    def _forget(self, spot: Spot, step: StepId) -> None:
        """Forget what was asked by a call that is over."""
        over = [key for key, one in self._known.items() if one.spot == spot and _is_in(one.asked.step, step)]
        for key in over:
            del self._known[key]

    def take_home(self, question: QuestionId, node: NodeId) -> None:
        """Note that the answer to a question counts where it was asked."""
        self._at_home[question] = node

    def doubt(self, idempotency_key: str) -> QuestionId | None:
        """The question that was asked last about an effect, whatever its call was called."""
        return self._doubts.get(idempotency_key)

    # -- which question a call asks ----------------------------------------------------------------------

    def is_asked_now(self, question: QuestionId) -> bool:
        """Whether a question was asked under the present plan, and is not the half of a copy."""
        former = self._copies.get(question)
        return question in self._asked_now and (former is None or former in self._consumed)

    def stays(self, past: Past, asked: QuestionAsked) -> bool:
        """Whether the question of this id is the one that the same place asked under an earlier plan."""
        one = self._known.get(asked.question)
        is_fresh = _told(past, asked) == FRESH
        return one is not None and not is_fresh and self._is_home(past, one, asked) and self._is_on_offer(one)

    def _is_on_offer(self, one: Former, node: NodeId | None = None) -> bool:
        question = one.asked.question
        return question not in self._consumed and self._at_home.get(question, node) == node

    def _is_home(self, past: Past, one: Former, asked: QuestionAsked) -> bool:
        is_there = past.site is not None and past.site.spot(asked.node) == one.spot
        return is_there and one.asked.step == asked.step

    # -- which answer it takes ---------------------------------------------------------------------------

    def find(
        self, past: Past, answered: Answered, asked: QuestionAsked, call: Identity | None
    ) -> Former | Ambiguity | None:
        """Give the answered question of an earlier plan that a call takes, without taking it.

        Args:
            asked: What it asks.
            call: What the call is that asks; the node itself, or a step of it.
        """
        site, told = past.site, _told(past, asked)
        if site is None or told == FRESH:
            return None
        same = [one for one in self._answered(past, answered, asked.node) if _same(one.asked, asked)]
        named = next((one for one in same if told in one.labels), None)
        if named is not None:
            return named
        same = [one for one in same if not _is_promised(past, one, asked)]
        mine = site.identity(asked.node)
        home = next((one for one in same if self._is_home(past, one, asked)), None)
        if home is not None and (mine is None or home.node in (None, mine)):
            return home
        equal = [one for one in same if one is not home and _is_equal(one, asked, mine, call)]
        free = [one for one in equal if one.node is not None and past.is_left(one.spot, one.node)]
        unsure = [one for one in equal if one not in free and one.node != mine and _is_unsure(site, one)]
        found = [*free, *unsure] or ([] if home is None else [home])
        rivals = self._rivals(site, past.told, found, asked.node)
        if len({one.asked.node for one in found}) > 1 or rivals or unsure:
            return _unsure(asked, found, rivals, unsure, is_step=found[0].node != mine)
        return found[0] if found else None

    def _answered(self, past: Past, answered: Answered, node: NodeId) -> list[Former]:
        over = self._over_spots(past)
        return [
            one
            for one in self._known.values()
            if self._is_on_offer(one, node)
            and answered(one.asked.question) is not None
            and not any(one.spot == spot and _is_in(one.asked.step, step) for spot, step in over)
        ]

    def _over_spots(self, past: Past) -> list[tuple[Spot, StepId]]:
        return [] if past.site is None else [(past.site.spot(node), step) for node, step in self._over_now]

    def _rivals(
        self, site: Site, told: Mapping[str, str], found: Iterable[Former], node: NodeId
    ) -> tuple[NodeId, ...]:
        """Other nodes of the plan that may ask the same, and did not at their own place."""
        served = {one.spot for one in self._known.values()}
        wanted = {identity for one in found for identity in (one.node, one.call) if identity is not None}
        return tuple(
            other
            for identity in wanted
            for other in site.unfinished(identity.definition)
            if other not in (node, *told) and site.identity(other) == identity
            if site.spot(other) not in served
        )

    # -- beforehand --------------------------------------------------------------------------------------

    def outlook(self, past: Past, answered: Answered, node: NodeId) -> list[Former | Ambiguity]:
        """What a node that is about to start will take of answers, as far as it is known from what it is."""
        mine = None if past.site is None else past.site.identity(node)
        found: list[Former | Ambiguity | None] = []
        for one in self._answered(past, answered, node):
            step, call = one.asked.step, one.call
            if mine is not None and mine == one.call and mine != one.node:
                step, call = StepId(step.rpartition("/")[2]), mine
            asked = replace(one.asked, node=node, step=step)
            if mine in (one.node, one.call) or self._is_home(past, one, asked):
                found.append(self.find(past, answered, asked, call))
        return [one for one in found if one is not None]

    def lost(self, past: Past, answered: Answered) -> Iterator[Taken]:
        """Answers that no node of the plan takes, nor could yet."""
        for one in self._known.values():
            answer = answered(one.asked.question)
            if answer is None or not self._is_on_offer(one) or past.site is None:
                continue
            if not self._may_be_taken(past.site, one):
                yield Taken(former=one, answer=answer)

    def _may_be_taken(self, site: Site, one: Former) -> bool:
        try:
            if site.at(one.spot) is not None:
                return True
        except LookupError:
            return True
        served = {other.spot for other in self._known.values()}
        for identity in {identity for identity in (one.node, one.call) if identity is not None}:
            free = [node for node in site.unfinished(identity.definition) if site.spot(node) not in served]
            if any(site.identity(node) in (None, identity) for node in free):
                return True
            if len(one.spot) == 1 and None in site.pending(identity.definition):  # an item that may begin yet
                return True
        return False

    def knows(self, label: str) -> bool:
        """Whether a person may name an answer so."""
        return any(label in one.labels for one in self._known.values())


def _told(past: Past, asked: QuestionAsked) -> str | None:
    paths = (path_of(asked.node, asked.step), path_of(asked.node, around(asked.step)), asked.node)
    return next((past.told[path] for path in paths if path in past.told), None)


def _is_promised(past: Past, one: Former, asked: QuestionAsked) -> bool:
    """Whether a person said that another call takes it."""
    return any(
        label in one.labels and call != asked.node and not call.startswith(f"{asked.node}/")
        for call, label in past.told.items()
    )


def _is_equal(one: Former, asked: QuestionAsked, mine: Identity | None, call: Identity | None) -> bool:
    """Whether it was asked by the same step of the same node, or by an equal call."""
    is_same_step = mine is not None and one.node == mine and one.asked.step == asked.step
    return is_same_step or (call is not None and one.call == call)


def _is_unsure(site: Site, one: Former) -> bool:
    """Whether a call, whose place may be what it was, could ask there yet."""
    try:
        node = site.at(one.spot)
    except LookupError:
        return True
    return bool(around(one.asked.step)) or one.call != one.node or node is None or site.identity(node) is None


def _same(one: QuestionAsked, other: QuestionAsked) -> bool:
    """Whether two questions are the same to who reads them."""
    return (
        one.step.rpartition("/")[2] == other.step.rpartition("/")[2]
        and (one.to, one.prompt, one.schema.digest) == (other.to, other.prompt, other.schema.digest)
        and (one.shown and one.shown.digest) == (other.shown and other.shown.digest)
    )


def _is_in(step: StepId, call: StepId) -> bool:
    return not call or step.startswith(f"{call}/")


def _unsure(
    asked: QuestionAsked,
    found: list[Former],
    rivals: tuple[NodeId, ...],
    unsure: list[Former],
    *,
    is_step: bool,
) -> Ambiguity:
    call = path_of(asked.node, around(asked.step)) if is_step else asked.node
    labels = dict.fromkeys(one.path if is_step else one.asked.node for one in found)
    if len(labels) > 1:
        why = f"{len(labels)} equal calls were answered, and none of them under this name"
    elif rivals:
        names = ", ".join(map(repr, rivals))
        why = f"one answer was given, and {names} may ask the same"
    else:
        why = f"it was given in {unsure[0].asked.node!r}, which is still in the plan and may ask for it yet"
    return Ambiguity(call, tuple(labels), rivals, why)
