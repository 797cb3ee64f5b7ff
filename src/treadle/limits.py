"""What a provider allows, and when it is left alone: limits that all runs of an engine share, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treadle import durations
from treadle.errors import ConfigurationError

MINUTE: Final = 60.0
"""Seconds that limits "per minute" are counted over: any such stretch, not the minutes of a clock."""


def _positive(cls: str, name: str, number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{cls}({name}=...) is a whole number of 1 or more, not {number!r}")
    return number


@dataclass(frozen=True, slots=True, init=False)
class Breaker:
    """When a model that fails again and again is left alone for a while.

    It opens after so many requests in a row that the provider could not serve (it was out of reach,
    overloaded, or answered with rubbish); a refusal that is an answer, such as status 400 or 429, is
    none of these.  While it is open nothing is sent: a call fails with ``CircuitOpen``.  After the
    pause one request goes through to find out, and closes it or opens it for another pause.

    Attributes:
        failures: How many in a row, counted over all runs of the engine.
        pause: Seconds for which it stays open.

    Example:
        >>> Breaker(failures=3, pause="1m").pause
        60.0
    """

    failures: int
    pause: float

    def __init__(self, *, failures: int = 10, pause: float | str = 15.0) -> None:
        put = object.__setattr__
        put(self, "failures", _positive("Breaker", "failures", failures))
        put(self, "pause", durations.seconds(pause))


DEFAULT_BREAKER: Final = Breaker()
"""Where nothing else is said: ten in a row, a quarter of a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What all runs of an engine together may ask of one model.

    ``Engine(limits={"openai:NAME": Limit(...)})`` sets it for a model, ``"openai:*"`` for each of a
    provider, ``"*"`` for each there is.  Who has to wait stands in line, first come first served, and
    holds no money meanwhile.

    Attributes:
        requests_per_minute: In no 60 seconds more are sent.
        tokens_per_minute: In no 60 seconds more are asked for: a request counts with its worst case,
            and once it was answered with what it took.  One that is larger by itself goes alone.
        concurrency: How many are under way at once.
        adaptive: Whether a 429 halves what is asked for from then on, which grows back with each
            request that is answered.
        breaker: When the model is left alone; ``None`` for never.

    Example:
        >>> Limit(requests_per_minute=500, concurrency=8).tokens_per_minute is None
        True
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    adaptive: bool = True
    breaker: Breaker | None = DEFAULT_BREAKER

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            if getattr(self, name) is not None:
                _positive("Limit", name, getattr(self, name))
        if not isinstance(self.breaker, Breaker | None):  # pyright: ignore[reportUnnecessaryIsInstance] - the same
            raise ValueError(f"Limit(breaker=...) is Breaker(...), or None for never, not {self.breaker!r}")
        if not isinstance(self.adaptive, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped users
            raise ValueError(f"Limit(adaptive=...) is True or False, not {self.adaptive!r}")


NO_LIMIT: Final = Limit()


def check_limits(limits: Mapping[str, Limit] | None) -> Mapping[str, Limit]:
    """Make sure that each key of ``Engine(limits=)`` can name a model.

    Raises:
        ConfigurationError: One is no name, or what it stands for is no ``Limit``.
    """
    if not isinstance(limits, Mapping | None):  # pyright: ignore[reportUnnecessaryIsInstance] - the same
        raise ConfigurationError(f"limits= maps names of models to Limit(...), and is not {limits!r}")
    for name, limit in (limits or {}).items():
        if name != "*" and not _names_models(name):
            raise ConfigurationError(
                f"limits={{{name!r}: ...}} names no model; write 'PROVIDER:NAME' such as "
                "'openai:gpt-6-luna', 'PROVIDER:*' for each of a provider, or '*' for each there is"
            )
        if not isinstance(limit, Limit):  # pyright: ignore[reportUnnecessaryIsInstance] - users come untyped
            raise ConfigurationError(f"limits={{{name!r}: {limit!r}}}: write Limit(...) of treadle.models")
    return dict(limits or {})


def _names_models(name: object) -> bool:
    """Whether a name is ``PROVIDER:NAME`` or ``PROVIDER:*``; ``auto`` names what is chosen when it runs."""
    if not isinstance(name, str):
        return False
    provider, colon, model = name.partition(":")
    is_whole = "*" not in provider and (model == "*" or "*" not in model)
    return bool(provider and colon and model) and is_whole and provider != "auto"


def limit_of(limits: Mapping[str, Limit], *, provider: str, model: str) -> Limit:
    """The limit of a model: under its own name, else its provider's ``"PROVIDER:*"``, else ``"*"``."""
    for name in (f"{provider}:{model}", f"{provider}:*", "*"):
        if name in limits:
            return limits[name]
    return NO_LIMIT
