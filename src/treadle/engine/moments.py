"""Moments as callers give them."""

from __future__ import annotations

import math
from datetime import datetime


def moment(value: object) -> float | None:
    """Give a deadline in seconds since 1970 (UTC); ``None`` stays ``None``.

    Args:
        value: An aware ``datetime``, or seconds since 1970.

    Raises:
        ValueError: It is a length of time, a naive ``datetime``, or no number.
    """
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(
        f"deadline={value!r} is no moment: write datetime.now(UTC) + timedelta(hours=1), or seconds "
        "since 1970"
    )
