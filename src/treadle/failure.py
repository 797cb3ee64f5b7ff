"""``Failure``: why something failed, as it stands in histories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from treadle.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something failed, in a form that outlives the process and its exception object.

    Attributes:
        types: Qualified names of the error's class and those above it, most special first.
        message: What the error said; its first line is short enough for a table.
        node, attempt: Where it began.
        where: ``file:line`` of the user's code that raised, or ``""``.
        retryable: Whether the same thing may succeed when tried again.
        takeable: Whether ``fallback``, ``race`` and ``each`` may take it (never for an effect in
            doubt, a history mismatch, a cancellation or an internal error).
        retry_after: Seconds the other side asked to wait.
        is_final: Whether no other attempt may follow: what failed had been tried as often as it may.
        details: The error's own attributes that are plain data, such as ``status``.

    Example::

        @node
        async def good(answers: list[str | Failure]) -> list[str]:
            return [answer for answer in answers if not isinstance(answer, Failure)]
    """

    types: tuple[str, ...]
    message: str
    node: NodeId = NodeId("")
    attempt: int = 0
    where: str = ""
    retryable: bool = True
    takeable: bool = True
    retry_after: float | None = None
    is_final: bool = False
    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict[str, Any])

    @property
    def type(self) -> str:
        """The plain name of the error's class."""
        return self.types[0].rpartition(".")[2] if self.types else "Error"


def written(failures: Iterable[Failure]) -> str:
    """Write failures as one text, for the details of the failure that comes of them all."""
    return json.dumps([{one: getattr(failure, one) for one in _FIELDS} for failure in failures])


def read(text: str) -> tuple[Failure, ...]:
    """Read what ``written`` gave; fields that this release does not know are left out."""
    rows: list[dict[str, Any]] = json.loads(text)
    return tuple(map(_known, rows))


def _known(row: Mapping[str, Any]) -> Failure:
    known: dict[str, Any] = {name: row[name] for name in _FIELDS if name in row}
    known["types"] = tuple(row["types"])
    return Failure(**known)


_FIELDS: Final = tuple(one.name for one in fields(Failure))
