"""The providers' errors as ours: translated once, here, by status and code.

What a provider writes into its message may repeat the prompt or part of a key, so none of that text
is taken over: status, type, code and parameter name are what is told (Anthropic gives a type alone); the
original stands behind as the cause.  Sources: https://platform.openai.com/docs/guides/error-codes and
https://platform.claude.com/docs/en/api/errors (read in November 2026).
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from treadle.errors import (
    MalformedResponse,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)

LONGEST_WAIT: Final = 600.0
"""Seconds; a provider that asks for more is asked again after this long."""

_RETRYABLE: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
_USED_UP: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
)
_USED_UP_WORDS: Final = (
    "credit balance is too low",
    "specified api usage limits",
    "exceeded your current quota",
)
_OVERFLOW_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERFLOW_WORDS: Final = (
    "context length", "context size", "context window", "maximum context", "prompt is too long"
)  # fmt: skip

_NAMED: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "data_residency_mismatch": 400,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that a code stands for, where an error comes within a response of status 200.

Beside these, all codes of Responses that speak of an image or a policy (``ResponseErrorCode`` of the
published description) are about what was sent.
"""

_MENDS: Final = {
    400: "the request was not in the form it wants",
    401: "the key was refused; set {key}, or api_key=, to a valid one",
    403: "the key may not do that; use one that may, or another model",
    404: "there is no such model or address; check the model's name and base_url",
    413: "the request is too large; send less",
    422: "the request was not in the form it wants",
}

_UNEXPLAINED: Final = frozenset({400, 422})
"""Statuses that alone say little; whatever is not in ``_MENDS`` says as little."""

_HIDDEN: Final = (
    "; the provider's own words may repeat the prompt, so they are in error.__cause__ alone (in Python)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom an error comes from, for its text.

    Attributes:
        provider: Such as ``"openai"``.
        address: The base URL.
        model: The model's name.
        key: The variable that holds the key.
    """

    provider: str
    address: str
    model: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.provider} at {self.address}, model {self.model!r}"


def from_status(status: int, headers: Mapping[str, str], body: object, *, asked: Asked) -> ProviderError:
    """The error for an answer with an error status, or with an error in its body.

    Args:
        status: Of the HTTP response.
        headers: Of the response; ``Retry-After`` counts on retryable statuses only.
        body: The parsed JSON, or anything else where there is none.
        asked: Who was asked.
    """
    error = _error_of(body)
    code = _identifier(error.get("code")) or _identifier(error.get("type"))
    names = ", ".join(_names(status, error))
    told = f"{asked}: status {status}" + (f" ({names})" if names else "")
    if _is_used_up(status, error):
        mend = "the quota or credit is used up; raise it at the provider, or use another key"
        return RateLimited(f"{told}: {mend}", provider=asked.provider, status=status)
    meant = status if status != 200 else _meant(code, _identifier(error.get("type")))
    if meant not in _RETRYABLE and meant < 500:
        mend = _mend(meant, code, error, is_hidden=status != 200).format(key=asked.key)
        return RequestRejected(f"{told}: {mend}", provider=asked.provider, status=status)
    # What comes within a good status has no header that speaks of it, and a proxy's word is the last.
    wait = retry_after(headers) if status != 200 else None
    again = headers.get("x-should-retry") != "false" or status == 200
    kind, mend = (RateLimited, _BUSY) if meant == 429 else (ProviderUnavailable, _DOWN)
    return kind(
        f"{told}: {mend}",
        provider=asked.provider,
        status=status,
        retryable=again,
        retry_after=wait if again else None,
    )


_BUSY: Final = "too many requests or tokens for now; it may be tried again later"
_DOWN: Final = "the service is overloaded or broken for now; it may be tried again later"


def _is_used_up(status: int, error: Mapping[str, Any]) -> bool:
    kinds = {_identifier(error.get("code")), _identifier(error.get("type"))}
    said = str(error.get("message", "")).lower()
    return status == 402 or bool(_USED_UP & kinds) or any(words in said for words in _USED_UP_WORDS)


def _meant(code: str, kind: str) -> int:
    """The status that an error within a good response stands for: proxies report those of the server
    behind them so, as a number, and streams have no other way."""
    if code.isdecimal() and 400 <= int(code) < 600:
        return int(code)
    if "image" in code or code.endswith(("_policy", "_policy_violation")):
        return 400
    return _NAMED.get(code) or (429 if "rate_limit" in code else _NAMED.get(kind, 500))


def _names(status: int, error: Mapping[str, Any]) -> Iterator[str]:
    """The type and the code of an error, but for what the status, or the type, says already."""
    kind, code = _identifier(error.get("type")), _identifier(error.get("code"))
    if kind not in ("", "error"):
        yield kind
    if code not in ("", kind, str(status)):
        yield code


def _mend(status: int, code: str, error: Mapping[str, Any], *, is_hidden: bool) -> str:
    """What to do; ``is_hidden`` where a cause holds what the provider wrote."""
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
    hidden = _HIDDEN if is_hidden and (status in _UNEXPLAINED or status not in _MENDS) else ""
    return _MENDS.get(status, "the request was refused") + concerned + hidden


def unreachable(asked: Asked) -> ProviderUnavailable:
    """The error where no response came, or it broke off."""
    return ProviderUnavailable(
        f"{asked}: the server could not be reached, or broke off; check base_url, and that the server is "
        "running",
        provider=asked.provider,
        retryable=True,
    )


def timed_out(asked: Asked, timeout: float) -> ProviderUnavailable:
    """The error where an answer did not come, or was not whole, in time."""
    return ProviderUnavailable(
        f"{asked}: the server gave no answer within {timeout:g} s; raise timeout=, or ask for less",
        provider=asked.provider,
        retryable=True,
    )


def malformed(what: str, *, provider: str) -> MalformedResponse:
    """The error for an answer that is not what the interface promises; worth one more try."""
    return MalformedResponse(
        f"{provider}: {what}; if it happens again, the server at base_url does not speak this interface",
        provider=provider,
        status=200,
        retryable=True,
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
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _IDENTIFIER.fullmatch(text) else ""
