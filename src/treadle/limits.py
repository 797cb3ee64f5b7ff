"""What a provider allows, and when it is left alone: limits that all runs of an engine share, as data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, cast

from treadle import given
from treadle.errors import ConfigurationError

MINUTE: Final = 60.0
"""Seconds that limits "per minute" are counted over: any such stretch, not the minutes of a clock."""


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

    Raises:
        ConfigurationError: The number is none of 1 or more, or the pause no length of time.
    """

    failures: int
    pause: float

    @given.told("Breaker")
    def __init__(self, *, failures: int = 10, pause: float | str = 15.0) -> None:
        put = object.__setattr__
        put(self, "failures", given.whole("Breaker", "failures", failures, least=1, example="5"))
        put(self, "pause", given.seconds("Breaker", "pause", pause))


DEFAULT_BREAKER: Final = Breaker()
"""Where nothing else is said: ten in a row, a quarter of a minute."""


_EXAMPLES: Final = {"requests_per_minute": "500", "tokens_per_minute": "200_000", "concurrency": "8"}


@given.told_fields
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

    Raises:
        ConfigurationError: An option is not what is wanted; the text says what to write.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    adaptive: bool = True
    breaker: Breaker | None = DEFAULT_BREAKER

    def __post_init__(self) -> None:
        for name, example in _EXAMPLES.items():
            if getattr(self, name) is not None:
                given.whole("Limit", name, getattr(self, name), least=1, example=example)
        given.yes_or_no("Limit", "adaptive", self.adaptive)
        if not isinstance(cast("object", self.breaker), Breaker | None):
            wanted = "Breaker(...), or None for never"
            raise given.wrong("Limit", "breaker", self.breaker, wanted, "Breaker(failures=5)")


NO_LIMIT: Final = Limit()


_PROVIDERS: Final = ("openai", "anthropic", "local", "scripted")
"""Whose models a release can ask by a name, and that of scripted ones; other model objects have others."""


def check_limits(limits: Mapping[str, Limit] | None, providers: Collection[str] = ()) -> Mapping[str, Limit]:
    """Make sure that each key of ``Engine(limits=)`` can name a model.

    Any text may be the provider of a model object; but one that differs from a known provider by a letter
    or two that changed places, and that nobody here is known to have, is a slip of the pen.

    Args:
        limits: The limits, by name.
        providers: Those that models of the engine's graphs are known to have.

    Raises:
        ConfigurationError: One is no name or is misspelt, or what it stands for is no ``Limit``.
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
        _check_provider(name, providers)
    return dict(limits or {})


def _names_models(name: object) -> bool:
    """Whether a name is ``PROVIDER:NAME`` or ``PROVIDER:*``; ``auto`` names what is chosen when it runs."""
    if not isinstance(name, str):
        return False
    provider, colon, model = name.partition(":")
    is_whole = "*" not in provider and (model == "*" or "*" not in model)
    return bool(provider and colon and model) and is_whole and provider != "auto"


def _check_provider(name: str, providers: Collection[str]) -> None:
    provider, _, model = name.partition(":")
    if provider in _PROVIDERS or provider in providers:
        return
    if provider == "openai-responses":
        raise ConfigurationError(
            f"limits={{{name!r}: ...}}: what is asked by Responses is of the provider 'openai', too; "
            f"write 'openai:{model}'"
        )
    meant = next((known for known in (*_PROVIDERS, *sorted(providers)) if _is_slip(provider, known)), "")
    if meant:
        raise ConfigurationError(
            f"limits={{{name!r}: ...}} limits nothing: no model is of the provider {provider!r}; did you "
            f"mean '{meant}:{model}'?  Where a model object has this provider, name a graph that asks it: "
            "Engine(graphs=[...])"
        )


def _is_slip(written: str, known: str) -> bool:
    """Whether a name is another but for one letter, two that changed places, or capitals."""
    written = written.lower()
    if not written.isalpha() or abs(len(written) - len(known)) > 1:
        return written == known
    start = next((n for n, (a, b) in enumerate(zip(written, known, strict=False)) if a != b), len(known))
    left, right = written[start:], known[start:]
    swapped = left[1:2] + left[:1] + left[2:]
    return right in (left, left[1:], swapped) or right[1:] in (left, left[1:])


def limit_of(limits: Mapping[str, Limit], *, provider: str, model: str) -> Limit:
    """The limit of a model: under its own name, else its provider's ``"PROVIDER:*"``, else ``"*"``."""
    for name in (f"{provider}:{model}", f"{provider}:*", "*"):
        if name in limits:
            return limits[name]
    return NO_LIMIT
