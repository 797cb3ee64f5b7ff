"""What was consumed, what may be consumed, and what a call may cost: the arithmetic of money.

Amounts of money are decimals in US dollars; tokens and calls are whole numbers; time is in seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, cast

from treadle import given
from treadle.errors import ConfigurationError

ZERO: Final = Decimal(0)

Measure = Literal["usd", "tokens", "calls"]
"""What a model call takes; ``seconds`` is taken by attempts, not by calls."""

MEASURES: Final[tuple[Measure, ...]] = ("usd", "tokens", "calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, as the provider counted them.

    The totals include their parts: ``input_tokens`` the cached ones, ``output_tokens`` the reasoning
    ones (as in OpenTelemetry's GenAI conventions).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What one call takes from every account above it: money, tokens and calls."""

    usd: Decimal = ZERO
    tokens: int = 0
    calls: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            usd=self.usd + other.usd, tokens=self.tokens + other.tokens, calls=self.calls + other.calls
        )

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(
            usd=self.usd - other.usd, tokens=self.tokens - other.tokens, calls=self.calls - other.calls
        )

    def of(self, measure: Measure) -> Decimal:
        """The amount of one measure, in its own unit."""
        return self.usd if measure == "usd" else Decimal(getattr(self, measure))


NOTHING: Final = Amounts()


@given.told_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of one model in US dollars for a million tokens.

    Attributes:
        input_mtok, output_mtok, cache_read_mtok, cache_write_mtok: Decimals, such as ``Decimal("0.25")``.
        basis: Where it comes from: ``"genai-prices"``, ``"given"`` by the user, or ``"local"``
            (a server on this machine, which costs nothing).
        version: The release of that source, to explain an old bill.
        tiers: Other prices for the whole call where its input is above so many tokens, in growing order.

    Raises:
        ConfigurationError: A price is no decimal of 0 or more.
    """

    input_mtok: Decimal
    output_mtok: Decimal
    cache_read_mtok: Decimal | None = None
    cache_write_mtok: Decimal | None = None
    basis: str = "given"
    version: str = ""
    tiers: tuple[tuple[int, Price], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would make money of floats."""
        _check_price("input_mtok", self.input_mtok)
        _check_price("output_mtok", self.output_mtok)
        if self.cache_read_mtok is not None:
            _check_price("cache_read_mtok", self.cache_read_mtok)
        if self.cache_write_mtok is not None:
            _check_price("cache_write_mtok", self.cache_write_mtok)

    def cost(self, usage: Usage) -> Decimal:
        """The price of some usage; cached parts at their own price where there is one."""
        if self.tiers:
            reached = [price for above, price in self.tiers if usage.input_tokens > above]
            if reached:
                return reached[-1].cost(usage)
        read_price = self.input_mtok if self.cache_read_mtok is None else self.cache_read_mtok
        write_price = self.input_mtok if self.cache_write_mtok is None else self.cache_write_mtok
        fresh = max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens)
        return (
            self.input_mtok * fresh
            + read_price * usage.cache_read_tokens
            + write_price * usage.cache_write_tokens
            + self.output_mtok * usage.output_tokens
        ) / 1_000_000

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The most that so many tokens can cost, whatever part of the input is cached or written."""
        dearest = max(self.input_mtok, self.cache_read_mtok or ZERO, self.cache_write_mtok or ZERO)
        flat = (dearest * input_tokens + self.output_mtok * output_tokens) / 1_000_000
        reached = [
            price.worst(input_tokens, output_tokens) for above, price in self.tiers if input_tokens > above
        ]
        return max(flat, *reached) if reached else flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The most that one request can take: what is known before it is sent.

    Attributes:
        input_tokens: The most its input can be counted as; ``None`` where there is no bound.
        price: ``None`` where nobody knows the price.
        model: The model's name, for messages.
    """

    input_tokens: int | None
    price: Price | None
    model: str = ""

    def worst(self, max_output: int) -> Amounts:
        """The worst case with an output limit in tokens; an unknown part counts as nothing."""
        tokens = self.input_tokens or 0
        usd = ZERO if self.price is None else self.price.worst(tokens, max_output)
        return Amounts(usd=usd, tokens=tokens + max_output, calls=1)

    def covers(self, measure: Measure) -> bool:
        """Whether ``worst`` is a bound in this measure."""
        if measure == "calls":
            return True
        return self.input_tokens is not None and (measure == "tokens" or self.price is not None)


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """Limits that nothing passes: money, tokens, calls and seconds, on a run, subgraph or node.

    Attributes:
        usd: US dollars; text is read as a decimal, so ``"0.20"`` is exact.
        tokens: Input and output tokens together.
        calls: Requests to models, retried ones included.
        seconds: Time during which at least one attempt below the budget runs; waiting for people,
            money or a lock does not count.
        soft: The share of a limit (0 to 1) at which ``on_soft`` applies.
        on_soft: The name of a model to use from there on.

    Example:
        >>> Budget(usd="0.20", seconds=120).usd
        Decimal('0.20')

    Raises:
        ConfigurationError: A limit is none, or below zero.
    """

    usd: Decimal | None
    tokens: int | None
    calls: int | None
    seconds: float | None
    soft: float | None
    on_soft: str | None

    @given.told("Budget")
    def __init__(
        self,
        *,
        usd: Decimal | str | int | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        seconds: float | str | None = None,
        soft: float | None = None,
        on_soft: str | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "usd", None if usd is None else _money(usd))
        put(self, "tokens", tokens if tokens is None else _count("tokens", tokens))
        put(self, "calls", calls if calls is None else _count("calls", calls))
        put(self, "seconds", seconds if seconds is None else given.seconds("Budget", "seconds", seconds))
        put(self, "soft", soft if soft is None else given.share("Budget", "soft", soft, example="0.8"))
        put(self, "on_soft", on_soft if on_soft is None else _named(on_soft))

    def limit(self, measure: Measure) -> Decimal | None:
        """The limit of one measure, or ``None`` where there is none."""
        limit = self.usd if measure == "usd" else getattr(self, measure)
        return None if limit is None else Decimal(limit)

    @property
    def limits(self) -> tuple[tuple[Measure, Decimal], ...]:
        """The limits that calls are held against: money, tokens, calls, where they are given."""
        found: list[tuple[Measure, Decimal]] = []
        for measure in MEASURES:
            limit = self.limit(measure)
            if limit is not None:
                found.append((measure, limit))
        return tuple(found)


class Meter:
    """Counts the seconds during which at least one of several things ran; parallel ones count once.

    Times are seconds since 1970, given by the caller: the meter reads no clock.
    """

    __slots__ = ("_running", "_since", "_used")

    def __init__(self, used: float = 0.0) -> None:
        self._used = used
        self._running = 0
        self._since = 0.0

    def started(self, at: float) -> None:
        """One more thing runs."""
        if self._running == 0:
            self._since = at
        self._running += 1

    def stopped(self, at: float) -> None:
        """One thing less runs."""
        self._running -= 1
        if self._running == 0:
            self._used += max(0.0, at - self._since)

    def used(self, at: float) -> float:
        """Seconds counted up to a moment."""
        return self._used + (max(0.0, at - self._since) if self._running else 0.0)

    def add(self, seconds: float) -> None:
        """Count seconds that ran earlier, such as before a crash."""
        self._used += seconds


def _count(name: str, limit: object) -> int:
    return given.whole("Budget", name, limit, least=0, example="20_000" if name == "tokens" else "50")


def _named(model: object) -> str:
    if isinstance(model, str) and model:
        return model
    raise given.wrong("Budget", "on_soft", model, "the name of a model", "'auto:small'")


def _check_price(name: str, amount: object) -> None:
    if not isinstance(amount, Decimal) or not amount.is_finite() or amount < 0:
        number = str(amount) if type(amount) in {int, float, str} else ""
        example = number if re.fullmatch(r"\d+(\.\d+)?", number) else "0.25"
        wanted = "US dollars for a million tokens as a Decimal of 0 or more"
        raise given.wrong("Price", name, amount, wanted, f"Decimal('{example}')")


def _money(amount: object) -> Decimal:
    if isinstance(amount, float):
        raise ConfigurationError(
            f"Budget(usd={amount!r}): write money as text or Decimal, as in usd='{amount}'"
        )
    try:
        is_one = isinstance(amount, Decimal | str | int) and not isinstance(amount, bool)
        value = Decimal(cast("str", amount)) if is_one else None
    except InvalidOperation:
        value = None
    if value is None:
        raise ConfigurationError(
            f"Budget(usd={amount!r}): that is not an amount of money; write for example usd='0.20'"
        )
    if not value.is_finite() or value < 0:
        raise ConfigurationError(
            f"Budget(usd={amount!r}): a budget is finite and not below zero; write for example usd='0.20'"
        )
    return value
