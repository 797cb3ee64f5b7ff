"""Which failures are tried again, how often, and after how long: retry as data."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from treadle import given
from treadle.errors import NEVER_TAKEN, ConfigurationError

_KINDS: Final = ("exponential", "fixed", "incrementing")


@given.told_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long to wait before the next attempt, in seconds.

    Attributes:
        kind: ``"exponential"`` doubles ``initial`` each time, ``"fixed"`` repeats it, ``"incrementing"``
            adds it each time (tenacity's ``wait_exponential``, ``wait_fixed``, ``wait_incrementing``).
        maximum: No wait is longer.
        jitter: Up to this much is added, drawn from the run's seed, so that replaying draws it again.

    Raises:
        ConfigurationError: The kind is unknown, or a length of time is no number of 0 or more.
    """

    kind: Literal["exponential", "fixed", "incrementing"] = "exponential"
    initial: float = 0.5
    maximum: float = 60.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what could not be waited for."""
        given.one_of("Wait", "kind", self.kind, _KINDS)
        given.number("Wait", "initial", self.initial, example="0.5")
        given.number("Wait", "maximum", self.maximum, example="60")
        given.number("Wait", "jitter", self.jitter, example="0.5")


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """How often a node is attempted, after which errors, and with what waits between.

    A node's count is in the history, and so is that of a call inside a body and a model call's count of
    requests: a crash neither resets it nor starts a wait over.

    Of an agent it is that of its requests: how often each is sent where the provider fails.  The agent itself
    is tried again after other failures alone, so that no failure is tried again by two layers.

    Attributes:
        attempts: How often at most, the first included.
        on: Error classes (by qualified name) that are tried again; empty: every error that says it
            may pass, and any error of the node's own code.
        wait: The waits between.

    Example:
        >>> Retry(attempts=3, on=ConnectionError).on
        ('builtins.ConnectionError',)

    Raises:
        ConfigurationError: An option is not what is wanted; the text says what to write.
    """

    attempts: int
    on: tuple[str, ...]
    wait: Wait

    @given.told("Retry")
    def __init__(
        self,
        *,
        attempts: int = 3,
        on: type[BaseException] | Sequence[type[BaseException] | str] = (),
        wait: Wait | float | str | None = None,
    ) -> None:
        if type(attempts) is not int or attempts < 1:
            wanted = "a whole number that counts the first one too, so at least 1"
            raise given.wrong("Retry", "attempts", attempts, wanted, "3")
        put = object.__setattr__
        put(self, "attempts", attempts)
        put(self, "on", error_names("Retry(on=...)", on))
        put(self, "wait", _waits(wait))

    def matches(self, types: Sequence[str], *, retryable: bool) -> bool:
        """Tell whether a failure of these classes (its own and those above it) is tried again."""
        return any(name in self.on for name in types) if self.on else retryable

    def delay(self, attempt: int, *, seed: str, retry_after: float | None = None) -> float:
        """Seconds to wait after a failed attempt; the same for the same seed.

        The growth is tenacity's own; jitter is uniform in ``[0, jitter)``, from SHA-256 of seed and
        attempt.  No wait is longer than ``Wait.maximum``, whatever the other side asks for.

        Args:
            attempt: The attempt that failed, counted from 1.
            seed: What jitter is drawn from.
            retry_after: Seconds the other side asked to wait; never less is waited, but for the cap.
        """
        wait = self.wait
        drawn = int.from_bytes(hashlib.sha256(f"{seed}:{attempt}".encode()).digest()[:8], "big") / 2**64
        grown = _grown(wait, attempt) + wait.jitter * drawn
        return min(wait.maximum, max(grown, retry_after or 0.0))


@given.told_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many requests to models a run may send again, in all: ``Engine(retry_budget=RetryBudget(...))``.

    So that a provider's bad hour does not make a large run ask three times as often.  A run that has
    spent it goes on; a request that fails then fails its node at once.

    Attributes:
        share: Of the requests sent for the first time so many may be sent again; 0.2 is one in five.
        least: So many in any case.

    Example:
        >>> RetryBudget(share=0.1, least=10).allows(again=19, firsts=100)
        True

    Raises:
        ConfigurationError: A number is none, or below 0.
    """

    share: float = 0.2
    least: int = 100

    def __post_init__(self) -> None:
        given.number("RetryBudget", "share", self.share, example="0.1")
        given.whole("RetryBudget", "least", self.least, least=0, example="20")

    def allows(self, *, again: int, firsts: int) -> bool:
        """Whether one more may be sent again, after so many were."""
        return again + 1 <= self.least + self.share * firsts


@dataclass(frozen=True, slots=True)
class _Turn:
    """All that tenacity's wait strategies look at."""

    attempt_number: int


def _grown(wait: Wait, attempt: int) -> float:
    import tenacity  # noqa: PLC0415 - 72 ms of CPU that a run without retries does not pay

    strategies: dict[str, Callable[[tenacity.RetryCallState], float]] = {
        "exponential": tenacity.wait_exponential(multiplier=wait.initial, max=wait.maximum),
        "fixed": tenacity.wait_fixed(wait.initial),
        "incrementing": tenacity.wait_incrementing(wait.initial, wait.initial, wait.maximum),
    }
    return float(strategies[wait.kind](cast("tenacity.RetryCallState", _Turn(attempt))))


def _waits(wait: Wait | float | str | None) -> Wait:
    """The waits that are meant; a length of time alone is one that stays the same."""
    if wait is None or isinstance(wait, Wait):
        return wait or Wait()
    is_none = type(wait) in {int, float} and wait == 0
    length = 0.0 if is_none else given.seconds("Retry", "wait", wait)
    return Wait(kind="fixed", initial=length, maximum=max(length, Wait().maximum), jitter=0.0)


def error_names(what: str, on: object) -> tuple[str, ...]:
    """The names of error classes, as failures are recorded with them.

    Args:
        what: Where they were given, for the message.
        on: A class, or several; a class may be given by its name with that of its module.

    Raises:
        ConfigurationError: It is something else; a name without a module would never match, and neither
            would what no failure of the work is: ``KeyboardInterrupt``, ``InDoubt``.
    """
    classes = cast("Sequence[object]", on if isinstance(on, list | tuple | set | frozenset) else (on,))
    return tuple(_error_name(what, one) for one in classes)


def _error_name(what: str, one: object) -> str:
    if isinstance(one, type) and issubclass(one, BaseException):
        if not issubclass(one, Exception) or issubclass(one, NEVER_TAKEN):
            raise ConfigurationError(
                f"{what}: {one.__name__} is never taken and never tried again; leave it out, or name errors "
                "of the work itself, such as ConnectionError"
            )
        return qualified_name(one)
    if isinstance(one, str) and "." in one.strip("."):
        return one
    meant = one if isinstance(one, str) else type(one).__name__ if isinstance(one, BaseException) else ""
    example = meant if hasattr(builtins, meant) else "ConnectionError"
    raise ConfigurationError(
        f"{what} is an error class or a list of them, not {one!r}; write on={example}, or its name with "
        "that of its module, as in on=['shop.errors.Busy']"
    )


def qualified_name(cls: type) -> str:
    """The name an error class is recorded under: ``builtins.ValueError``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def qualified_names(cls: type) -> tuple[str, ...]:
    """The names of a class and those above it, most special first, but for ``object``."""
    return tuple(qualified_name(parent) for parent in cls.__mro__[:-1])
