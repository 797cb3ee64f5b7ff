"""What a request that failed is charged: never less than it may have cost, and what was held at most."""

from __future__ import annotations

from treadle.budget import NOTHING, Amounts
from treadle.engine.money import Hold
from treadle.errors import MalformedResponse, ProviderError


def charged_for(held: Hold, error: ProviderError) -> Amounts:
    """What a failed request is charged.

    - It never left (``sent`` is false), so it cost nothing.
    - The provider refused it with a status of its own (4xx, 429, 5xx) and sent no completion: it
      bills for none, so the request alone is counted.
    - Anything else (a connection that broke, a timeout, a completion that cannot be read) may have
      been served and billed: what was held is charged, because no bound is lower.
    """
    if not error.sent:
        return NOTHING
    refused = error.status is not None and error.status >= 400
    if refused and not isinstance(error, MalformedResponse):
        return Amounts(calls=1)
    return held.amounts
