"""Prices of models from genai-prices: offline, cached, as decimals, with their release."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from treadle.budget import ZERO, Price

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

FREE: Final = Price(input_mtok=ZERO, output_mtok=ZERO, basis="local")
"""What a server on this machine costs."""

_PARTS: Final = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


@functools.lru_cache(maxsize=512)
def listed_price(provider: str, model: str) -> Price | None:
    """Look a price up, or give ``None`` where nobody knows it.

    The first call imports genai-prices: about 600 ms of CPU.  Source: the data in the installed
    release of https://github.com/pydantic/genai-prices; its prices of today are taken.

    Args:
        provider: Its id there, such as ``"openai"``, or the base URL of its service.
        model: The model's name as it is sent.
    """
    import genai_prices  # noqa: PLC0415 - 600 ms of CPU that a run without prices does not pay

    where: Any = {"provider_api_url": provider} if "://" in provider else {"provider_id": provider}
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model, **where).model_price
    except LookupError:
        return None
    return _read(found)


def _read(listed: ModelPrice) -> Price | None:
    import importlib.metadata  # noqa: PLC0415 - beside the import above

    version = importlib.metadata.version("genai-prices")
    starts = sorted({tier.start for part in _PARTS for tier in getattr(getattr(listed, part), "tiers", ())})
    tiers: list[tuple[int, Price]] = []
    for start in starts:
        price = _at(listed, start + 1, version)
        if price is not None:
            tiers.append((start, price))
    return _at(listed, 0, version, tuple(tiers))


def _at(
    listed: ModelPrice, input_tokens: int, version: str, tiers: tuple[tuple[int, Price], ...] = ()
) -> Price | None:
    """The flat prices of a call with so many input tokens."""
    parts: dict[str, Any] = {part: _flat(getattr(listed, part, None), input_tokens) for part in _PARTS}
    if parts["input_mtok"] is None or parts["output_mtok"] is None:
        return None  # an embedding or image model, or one whose price is by request
    return Price(**parts, basis="genai-prices", version=version, tiers=tiers)


def _flat(price: Any, input_tokens: int) -> Any:
    if not hasattr(price, "tiers"):
        return price
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return reached[-1] if reached else price.base
