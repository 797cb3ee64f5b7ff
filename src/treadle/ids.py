"""The names of runs, nodes, steps and questions, and how new ones are made."""

from __future__ import annotations

import hashlib
import os
import time
from typing import NewType

RunId = NewType("RunId", str)
"""One execution of one graph; sorts by the time it was made."""

NodeId = NewType("NodeId", str)
"""A node of a plan: ``triage``, ``triage.2``, and ``support/triage`` inside a subgraph; in a run also
``each(3)/triage`` inside the fourth item of an ``each``."""

PartId = NewType("PartId", str)
"""What a run goes through as one plan: ``""`` its own; ``each(3)`` an item of an ``each``, counted from 0;
``loop(2)`` a round of a ``loop``, counted from 1; ``each(3)/loop(2)`` a round inside an item."""

StepId = NewType("StepId", str)
"""One call inside a node's body: ``find_order#1f0c9a:0``, unique within the node's attempt.

Nested steps are joined by ``/``.  The empty id is the node's own body where that body is itself a
recorded call: a ``once`` tool, or a person.
"""

QuestionId = NewType("QuestionId", str)
"""One question to people: ``q-4k7d2m9c6yha3v0e``, of which the command line takes a beginning."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_DRAWN_AT_ONCE = 64
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def part_id(node: NodeId, number: int) -> PartId:
    """Name an item of an ``each``, or a round of a ``loop``."""
    return PartId(f"{node}({number})")


def owner_of(part: PartId) -> tuple[NodeId, int]:
    """The ``each`` or ``loop`` that a part belongs to, and which item or round of it it is."""
    node, _, number = part.rpartition("(")
    return NodeId(node), int(number[:-1])


def split(node: NodeId) -> tuple[PartId, NodeId]:
    """The part of a run that a node stands in, and what the node is called in its plan."""
    part, mark, name = node.rpartition(")/")
    return (PartId(part + ")"), NodeId(name)) if mark else (PartId(""), node)


def within(part: PartId, name: NodeId) -> NodeId:
    """What a node of a part's plan is called in the run."""
    return NodeId(f"{part}/{name}") if part else name


def _base32(number: int, length: int) -> str:
    """The last digits of a number; two at a time, for every run that starts pays for this."""
    shifts = range(10 * ((length - 1) // 2), -1, -10)
    return "".join([_PAIRS[number >> shift & 1023] for shift in shifts])[-length:]


_drawn: list[int] = []
"""Random numbers of 40 bits, used once each.  Asking the system for them lets go of the interpreter, for
which a store's writer may be waiting: so it is done for several runs at once."""


def _draw() -> int:
    try:
        return _drawn.pop()
    except IndexError:
        drawn = memoryview(os.urandom(5 * _DRAWN_AT_ONCE))
        _drawn.extend(int.from_bytes(drawn[at : at + 5]) for at in range(5, len(drawn), 5))
        return int.from_bytes(drawn[:5])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # else both processes would use the same ones


def new_run_id() -> RunId:
    """Make a run id: 9 characters of the time in milliseconds, then 8 random ones (40 bits)."""
    moment = time.time_ns() // 1_000_000
    return RunId(f"r-{_base32(moment << 40 | _draw(), 17)}")


def run_id_made_of(*names: str) -> RunId:
    """Make the run id that these names always give (85 bits), so that saying them again finds it."""
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return RunId(f"r-{_base32(int(digest[:22], 16), 17)}")


def question_id(digest: str) -> QuestionId:
    """Make a question id from the digest of what identifies it (80 bits), so that resuming finds it again."""
    return QuestionId(f"q-{_base32(int(digest[:20], 16), 16)}")


def named_before(question: QuestionId) -> QuestionId:
    """The id that a question had while ids were of 40 bits, which histories still hold."""
    return QuestionId(question[:10])
