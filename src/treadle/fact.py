"""``fact``: how a class of events or commands is declared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import dataclass_transform

_C = TypeVar("_C", bound=type)

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
    def fact(cls: _C) -> _C: ...

else:
    # Frozen for the type checkers alone: a frozen dataclass costs 0.8 us to make, this one 0.3, and
    # the engine makes one event and one command for each node.
    def fact(cls):
        return dataclass(slots=True, kw_only=True)(cls)
