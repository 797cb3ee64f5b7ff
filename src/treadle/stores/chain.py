"""The hash chain: each event is bound to all before it.

::

    hash(0) = 32 zero bytes
    hash(n) = SHA-256( hash(n-1)  text(n)  [ LF  {"name":"digest of the payload", ...} ] )

The text is the event as it is stored.  Payloads enter by their digest, so content can be erased from a
store and the chain still verifies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from pydantic_core import to_json

GENESIS: Final = bytes(32)
"""Stands before the first event."""


def link(previous: bytes, text: bytes, digests: Mapping[str, str]) -> bytes:
    """Give the hash of an event: 32 bytes.

    Args:
        previous: The hash of the event before, or ``GENESIS``.
        text: The event as ``encoding.encode`` wrote it.
        digests: SHA-256 of each payload in hexadecimal, by name, in the event's order.
    """
    return after(previous, bound(text, digests))


def after(previous: bytes, bound: bytes) -> bytes:
    """Give the hash of an event from that of the event before, and from what else it is taken over."""
    return hashlib.sha256(previous + bound).digest()


def bound(text: bytes, digests: Mapping[str, str]) -> bytes:
    """Give what the hash of an event is taken over, behind the hash of the event before."""
    return text + b"\n" + to_json(digests) if digests else text
