"""The stored form of a payload's content: small ones beside their event, larger ones once, compressed."""

from __future__ import annotations

import functools
import hashlib
import sys
from typing import Any, Final

from treadle.errors import FormatMismatch, StoreError
from treadle.values import Payload

INLINE_BYTES: Final = 300
"""Up to this size a payload stands beside its event; above, it is stored once under its digest."""

COMPRESS_BYTES: Final = 1000
"""From this size compression is tried (docs/decisions/history-size.md)."""

LARGEST_BYTES: Final = 256 * 1024 * 1024
"""No payload may be larger, stored or decompressed: a bomb of zeros must not fill the memory."""

PLAIN: Final = 0
ZSTD: Final = 1
ERASED: Final = 2


def pack(data: bytes) -> tuple[int, bytes]:
    """Give the form a content is stored in, and its bytes: zstd where that saves a tenth."""
    if len(data) < COMPRESS_BYTES:
        return PLAIN, data
    smaller = _zstd().compress(data, 3)
    return (ZSTD, smaller) if len(smaller) * 10 < len(data) * 9 else (PLAIN, data)


def unpack(form: int, content: bytes | None, digest: str) -> Payload:
    """Give the payload that was stored; one that was erased has its digest alone.

    Raises:
        FormatMismatch: The stored bytes are not what ``pack`` makes.
    """
    if form == ERASED or content is None:
        return Payload(digest=digest)
    if form == PLAIN:
        return Payload(data=content, digest=digest)
    if form != ZSTD:
        raise FormatMismatch(
            f"the content {digest} is stored in form {form}, unknown to this release; upgrade treadle"
        )
    return Payload(data=_decompress(content, digest), digest=digest)


def too_large(data: bytes, name: str) -> StoreError:
    """Make the error for what has over ``LARGEST_BYTES``, and could not be read back."""
    return StoreError(
        f"{name!r} has {len(data)} bytes, and the store takes at most {LARGEST_BYTES}; "
        "keep such content in a file or an object store, and record its address"
    )


def is_genuine(payload: Payload) -> bool:
    """Whether the content has the digest it is stored under; true of what was erased."""
    return payload.is_erased or hashlib.sha256(payload.data).hexdigest() == payload.digest


def _decompress(content: bytes, digest: str) -> bytes:
    zstd = _zstd()
    decompressor = zstd.ZstdDecompressor()
    try:
        data: bytes = decompressor.decompress(content, max_length=LARGEST_BYTES)
    except zstd.ZstdError as error:
        raise FormatMismatch(f"the content {digest} cannot be decompressed: {error}") from error
    if not decompressor.eof:
        raise FormatMismatch(f"the content {digest} is cut short, or larger than {LARGEST_BYTES} bytes")
    return data


@functools.cache
def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - loaded with the first large payload
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd
