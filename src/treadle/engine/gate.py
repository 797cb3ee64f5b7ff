"""``Gate``: where a request to a model waits its turn, or is refused; one for each model, for all runs.

What is decided stands in ``circuit`` and ``pacing``, which know no time and never wait.  Here is the
waiting: first come first served, by the engine's clock.  Only the first in line looks whether it may
go; who leaves the line, goes, or ends tells the one who is first then, so nobody comes between.

A permit is asked for before money is held, so nobody waits here while holding money; and whoever
holds money has a permit, so those who wait for money with a permit in hand wait for requests that are
on their way, and never for each other.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import anyio

from treadle.durations import describe
from treadle.engine.circuit import REFUSED, Circuit, Turn
from treadle.engine.pacing import Congestion, Entry, Window
from treadle.errors import (
    CircuitOpen,
    MalformedResponse,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from treadle.interfaces import Clock, Model
from treadle.limits import Limit, limit_of

LONGEST_PAUSE: Final = 60.0
"""Seconds; a provider that asks for more is asked again after this long."""


class Permit:
    """Leave to send one request, from ``Gate.enter`` until its end is noted.

    Attributes:
        is_probe: Whether it is the one request that finds out whether an open circuit may close.
    """

    __slots__ = ("_era", "_gate", "_has_ended", "_is_sent", "_requests", "_round", "_tokens", "is_probe")

    def __init__(
        self, gate: Gate, era: int, round_: int, requests: Entry | None, tokens: Entry | None
    ) -> None:
        self._gate = gate
        self._era = era
        self._round = round_
        self._requests = requests
        self._tokens = tokens
        self._is_sent = False
        self._has_ended = False
        self.is_probe = gate.circuit.is_probe(era)

    def sent(self) -> None:
        """Note that the request goes out now."""
        self._is_sent = True
        self._gate.note_sent(self._requests, self._tokens)

    def answered(self, tokens: int) -> Turn:
        """Note that an answer came.

        Args:
            tokens: What it took; 0 where nobody knows: then it counts with its worst case.
        """
        gate = self._gate
        if self._tokens is not None and tokens:
            gate.correct(self._tokens, tokens)
        gate.congestion.answered(gate.under_way)
        turn = gate.circuit.succeeded(self._era)
        self._end()
        return turn

    def failed(self, error: ProviderError) -> Turn:
        """Note that no answer came."""
        gate = self._gate
        turn: Turn = ""
        at = gate.clock.now()
        if not error.sent and not isinstance(error, ProviderUnavailable):
            gate.circuit.abandoned(self._era)  # it could not be written down: nobody was asked
        elif isinstance(error, ProviderUnavailable | MalformedResponse):
            turn = gate.circuit.failed(self._era, at, str(error))
        else:
            turn = gate.circuit.succeeded(self._era)
        if isinstance(error, RateLimited) and error.retryable:
            gate.congestion.refused(self._round, gate.under_way)
            gate.pause(at, error.retry_after or 0.0)
        self._end()
        return turn

    def leave(self) -> None:
        """Give it back where its end was not noted: nothing was sent, or it was cut off."""
        if self._has_ended:
            return
        if not self._is_sent:
            self._gate.take_back(self._requests, self._tokens)
        self._gate.circuit.abandoned(self._era)
        self._end()

    def _end(self) -> None:
        gate, self._has_ended = self._gate, True
        gate.under_way -= 1
        gate.wake()
        if self.is_probe:
            gate.tell_hopeful()


class Gate:
    """What all runs of an engine share for one model.

    Args:
        name: The model, as ``"PROVIDER:NAME"``.
        limit: What may be asked of it.
        clock: The engine's.

    Attributes:
        under_way: Permits that are out.
    """

    __slots__ = (
        "_hopeful", "_line", "_paused_until", "_requests", "_tokens", "circuit", "clock", "congestion",
        "name", "under_way",
    )  # fmt: skip

    def __init__(self, name: str, limit: Limit, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self.circuit = Circuit(limit.breaker)
        self.congestion = Congestion(limit.concurrency or math.inf, adaptive=limit.adaptive)
        self._requests = _window(limit.requests_per_minute)
        self._tokens = _window(limit.tokens_per_minute)
        self._paused_until = 0.0
        self._line: OrderedDict[_Place, None] = OrderedDict()
        self._hopeful: set[_Place] = set()
        self.under_way = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    async def enter(self, tokens: int) -> Permit:
        """Wait for leave to send a request.  Cancelling leaves the line.

        Args:
            tokens: The most it may take.

        Raises:
            CircuitOpen: The model is left alone for now.
        """
        if not self._line:
            at = self.clock.now()
            if self.circuit.refuses(at):
                raise self._refusal(at)
            if self._has_room(tokens, at):
                return self._let_in(tokens, at)
        return await self._in_line(tokens)

    def enter_if_free(self, tokens: int) -> Permit | None:
        """Give leave where nobody waits and there is room at once; else ``None``."""
        at = self.clock.now()
        if self._line or self.circuit.refuses(at) or not self._has_room(tokens, at):
            return None
        return self._let_in(tokens, at)

    async def wait_for_closing(self, moment: float) -> None:
        """Return at a moment, or as soon as the circuit closes; at once where it is closed."""
        place = _Place()
        self._hopeful.add(place)
        try:
            if self.circuit.state != "closed":
                await place.wait(self.clock, moment)
        finally:
            self._hopeful.discard(place)

    async def _in_line(self, tokens: int) -> Permit:
        place = _Place()
        self._line[place] = None
        try:
            while True:
                at = self.clock.now()
                if self.circuit.refuses(at):
                    raise self._refusal(at)
                is_first = next(iter(self._line)) is place
                if is_first and self._has_room(tokens, at):
                    return self._let_in(tokens, at)
                await place.wait(self.clock, self._room_at(tokens, at) if is_first else math.inf)
        finally:
            del self._line[place]
            self.wake()

    def _has_room(self, tokens: int, at: float) -> bool:
        if not self.congestion.allows(self.under_way) or at < self._paused_until:
            return False
        share = self.congestion.share
        return (self._requests is None or self._requests.fits(1, at, share=share)) and (
            self._tokens is None or self._tokens.fits(tokens, at, share=share)
        )

    def _room_at(self, tokens: int, at: float) -> float:
        """When to look again, if nobody is told of anything before."""
        if not self.congestion.allows(self.under_way):
            return math.inf
        moments = [self._paused_until]
        for window, amount in ((self._requests, 1), (self._tokens, tokens)):
            if window is not None and not window.fits(amount, at, share=self.congestion.share):
                moments.append(window.fits_at(amount, at, share=self.congestion.share))
        return max(moments)

    def _let_in(self, tokens: int, at: float) -> Permit:
        era = self.circuit.ask(at)
        if era == REFUSED:
            raise self._refusal(at)
        self.under_way += 1
        return Permit(
            self,
            era,
            self.congestion.round,
            None if self._requests is None else self._requests.take(1),
            None if self._tokens is None else self._tokens.take(tokens),
        )

    def _refusal(self, at: float) -> CircuitOpen:
        circuit, wait = self.circuit, self.circuit.wait(at)
        if circuit.state == "probing":
            until = "one request is finding out now whether it serves again"
        else:
            until = f"after {describe(wait)} one request finds out whether it serves again"
        return CircuitOpen(
            f"{self.name} is not asked: {circuit.failures} requests in a row failed, the last with "
            f"{circuit.why!r}; {until}. Nothing was sent; retry later, fall back to another model, or change "
            f"Engine(limits={{{self.name!r}: Limit(breaker=...)}})",
            provider=self.name.partition(":")[0],
            retryable=True,
            retry_after=wait,
            sent=False,
        )

    # -- told by permits ---------------------------------------------------------------------------

    def note_sent(self, requests: Entry | None, tokens: Entry | None) -> None:
        """Let what is sent now count for a minute from here on."""
        if requests is None and tokens is None:
            return
        at = self.clock.now()
        if self._requests is not None and requests is not None:
            self._requests.sent(requests, at)
        if self._tokens is not None and tokens is not None:
            self._tokens.sent(tokens, at)
        self.wake()

    def take_back(self, requests: Entry | None, tokens: Entry | None) -> None:
        """Let what was never sent count no more."""
        if self._requests is not None and requests is not None:
            self._requests.drop(requests)
        if self._tokens is not None and tokens is not None:
            self._tokens.drop(tokens)

    def correct(self, tokens: Entry, took: int) -> None:
        """Let a request count with what it took."""
        if self._tokens is not None:
            self._tokens.correct(tokens, took)

    def pause(self, at: float, seconds: float) -> None:
        """Send nothing for so long, as the provider asks."""
        self._paused_until = max(self._paused_until, at + min(seconds, LONGEST_PAUSE))

    def tell_hopeful(self) -> None:
        """Let those who were refused go, where the circuit has closed."""
        if self.circuit.state == "closed":
            for place in self._hopeful:
                place.look()

    def wake(self) -> None:
        """Let the first in line look again."""
        if self._line:
            next(iter(self._line)).look()


class Gates:
    """The gates of an engine's models, made when a model is first asked.

    A model is known by its provider, its name and its address (``base_url``); one that has no address
    by itself, as an object.

    Args:
        limits: As ``limits.check_limits`` gives them.
        clock: The engine's.
    """

    def __init__(self, limits: Mapping[str, Limit], clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._gates: dict[tuple[str, str, object], Gate] = {}
        self._known: dict[int, tuple[Model, Gate]] = {}

    def of(self, model: Model) -> Gate:
        """The gate of a model."""
        known = self._known.get(id(model))
        if known is None:  # the object is kept, so its id is not given to another
            known = self._known[id(model)] = model, self._find(model)
        return known[1]

    def _find(self, model: Model) -> Gate:
        key = model.provider, model.name, getattr(model, "base_url", None) or id(model)
        if key not in self._gates:
            limit = limit_of(self._limits, provider=model.provider, model=model.name)
            self._gates[key] = Gate(f"{model.provider}:{model.name}", limit, self._clock)
        return self._gates[key]


class _Place:
    """A place in a line."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told = anyio.Event()

    def look(self) -> None:
        """Tell who stands there to look again."""
        self._told.set()

    async def wait(self, clock: Clock, moment: float) -> None:
        """Return when told to look, or at a moment."""
        if moment == math.inf:
            await self._told.wait()
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look_at, clock, moment)
                await self._told.wait()
                tasks.cancel_scope.cancel()
        self._told = anyio.Event()

    async def _look_at(self, clock: Clock, moment: float) -> None:
        await clock.sleep_until(moment)
        self.look()


def _window(limit: int | None) -> Window | None:
    return None if limit is None else Window(limit)
