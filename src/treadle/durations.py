"""Lengths of time as people write them: ``"30s"``, ``"4h"``, or plain seconds."""

from __future__ import annotations

import re

from treadle.errors import ConfigurationError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_FORM = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def seconds(duration: float | str) -> float:
    """Give a length of time in seconds.

    Args:
        duration: Seconds as a number, or text such as ``"250ms"``, ``"30s"``, ``"4h"``, ``"1h30m"``.

    Raises:
        ConfigurationError: It has another form, or the length is not above zero.
    """
    length = _read(duration)
    if length is None:
        known = ", ".join(_UNITS)
        raise ConfigurationError(
            f"{duration!r} is not a duration; write seconds, or text such as '30s' (units: {known})"
        )
    if not 0 < length < float("inf"):
        raise ConfigurationError(
            f"{duration!r} is no duration above zero; write seconds, or text such as '30s'"
        )
    return length


def _read(duration: object) -> float | None:
    """The length of time, or ``None`` where it is none."""
    if isinstance(duration, str):
        text = duration.replace(" ", "")
        if not _FORM.fullmatch(text):
            return None
        return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return float(duration)
    return None


def describe(length: float) -> str:
    """Write a length of time in seconds the way a person would: ``0.84 s``, ``2 min 5 s``, ``4 h``."""
    if length < 120:
        return f"{length:.2f} s" if length < 10 else f"{length:.0f} s"
    minutes, rest = divmod(round(length), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
