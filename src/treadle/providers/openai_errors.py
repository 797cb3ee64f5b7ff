"""OpenAI's errors as ours: translated once, here, by status and code.

What a provider writes into its message may repeat the prompt or part of a key, so none of that text
is taken over: status, code and parameter name are what is told; the original stands behind as the
cause.  Source: https://platform.openai.com/docs/guides/error-codes (read in November 2026).
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import Any, Final, cast

from treadle.errors import ProviderError, ProviderUnavailable, RateLimited, RequestRejected

LONGEST_WAIT: Final = 600.0
"""Seconds; a provider that asks for more is asked again after this long."""

_RETRYABLE: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_IDENTIFIER: Final = re.compile(r"[\w.\[\]-]{1,80}")
_USED_UP: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_OVERFLOW_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERFLOW_WORDS: Final = ("context length", "context size", "context window", "maximum context")

_MENDS: Final = {
    400: "the request was not in the form it wants; the cause says more",
    401: "the key was refused; set OPENAI_API_KEY, or api_key=, to a valid one",
    403: "the key may not do that; use one that may, or another model",
    404: "there is no such model or address; check the model's name and base_url",
    413: "the request is too large; send less",
    422: "the request was not in the form it wants; the cause says more",
}


def from_status(
    status: int, headers: Mapping[str, str], body: object, *, address: str, model: str
) -> ProviderError:
    """The error for an answer with an error status, or with an error in its body.

    Args:
        status: Of the HTTP response.
        headers: Of the response; ``Retry-After`` counts on retryable statuses only.
        body: The parsed JSON, or anything else where there is none.
        address: Which server, for the message.
        model: Which model was asked, for the message.
    """
    error = _error_of(body)
    kinds = {_identifier(error.get("code")), _identifier(error.get("type"))}
    code = _identifier(error.get("code")) or _identifier(error.get("type"))
    told = f"openai at {address}, model {model!r}: status {status}" + (f" ({code})" if code else "")
    if status == 402 or _USED_UP & kinds:
        mend = "the quota or credit is used up; raise it at the provider, or use another key"
        return RateLimited(f"{told}: {mend}", provider="openai", status=status)
    if status == 200:
        return _in_good_status(told, code, error)
    if status == 429:
        wait = retry_after(headers)
        mend = "too many requests or tokens for now; it may be tried again later"
        return RateLimited(
            f"{told}: {mend}", provider="openai", status=status, retryable=True, retry_after=wait
        )
    if status in _RETRYABLE or status >= 500:
        mend = "the service is overloaded or broken for now; it may be tried again later"
        return ProviderUnavailable(
            f"{told}: {mend}",
            provider="openai",
            status=status,
            retryable=True,
            retry_after=retry_after(headers),
        )
    return RequestRejected(f"{told}: {_mend(status, code, error)}", provider="openai", status=status)


def _in_good_status(told: str, code: str, error: Mapping[str, Any]) -> ProviderError:
    """Proxies report upstream errors with status 200; their code is then the upstream's status."""
    number = int(code) if code.isdecimal() else 0
    if 400 <= number < 500 and number not in _RETRYABLE:
        text = f"{told}: {_mend(number, code, error)}"
        return RequestRejected(text, provider="openai", status=200)
    if number == 429 or "rate_limit" in code:
        text = f"{told}: too many requests for now; it may be tried again later"
        return RateLimited(text, provider="openai", status=200, retryable=True)
    text = f"{told}: an error came in place of an answer; it may be tried again"
    return ProviderUnavailable(text, provider="openai", status=200, retryable=True)


def _mend(status: int, code: str, error: Mapping[str, Any]) -> str:
    said = str(error.get("message", "")).lower()
    kinds = {code, _identifier(error.get("type"))}
    if kinds & _OVERFLOW_CODES or any(words in said for words in _OVERFLOW_WORDS):
        return (
            "the conversation does not fit the model's context window; send fewer or shorter documents "
            "and tool results, lower max_output, or use a model with a larger window"
        )
    if 300 <= status < 400:
        return "it redirects elsewhere, and prompts do not follow; set base_url to the final address"
    parameter = _identifier(error.get("param"))
    concerned = f"; it concerns {parameter!r}" if parameter else ""
    return _MENDS.get(status, "the request was refused; the cause says more") + concerned


def unreachable(address: str, *, model: str, timed_out: bool, timeout: float) -> ProviderUnavailable:
    """The error where no response came."""
    what = f"gave no answer within {timeout:g} s" if timed_out else "could not be reached, or broke off"
    mend = (
        "raise timeout=, or ask for less" if timed_out else "check base_url, and that the server is running"
    )
    return ProviderUnavailable(
        f"openai at {address}, model {model!r}: the server {what}; {mend}", provider="openai", retryable=True
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the provider asks to wait: between 0 and ``LONGEST_WAIT``, or ``None``.

    ``retry-after-ms`` is OpenAI's own; ``retry-after`` is seconds or a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        wait = _seconds(headers.get(name, ""))
        if wait is not None:
            return min(wait * unit, LONGEST_WAIT)
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if date is None:
        return None
    try:
        moment = email.utils.mktime_tz(date)
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, moment - time.time()), LONGEST_WAIT)


def _seconds(text: str) -> float | None:
    try:
        wait = float(text)
    except ValueError:
        return None
    return wait if wait >= 0 and not math.isnan(wait) else None


def _error_of(body: object) -> Mapping[str, Any]:
    """The error object, whether it stands under ``error`` or the SDK has taken it out already."""
    if not isinstance(body, dict):
        return {}
    outer = cast("dict[str, Any]", body)
    inner = outer.get("error")
    if isinstance(inner, dict):
        return cast("dict[str, Any]", inner)
    return {"message": inner} if isinstance(inner, str) else outer


def _identifier(value: object) -> str:
    """A code or parameter name; text of any other form could be content, and is left out."""
    text = str(value) if isinstance(value, str | int) else ""
    return text if _IDENTIFIER.fullmatch(text) else ""
