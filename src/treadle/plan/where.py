"""Where in the user's code something was written, for messages."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Final

_HERE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BETWEEN: Final = (_HERE, "<frozen ")  # such as abc, which asks for the class of a value


def where() -> str:
    """Give ``file:line`` of the nearest caller outside of this package."""
    frame = _caller()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"


def defined_at(function: Callable[..., object]) -> str:
    """Give ``file:line`` of a function's first line, decorators included."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else "?"


def is_asked_by(package: str) -> bool:
    """Whether the nearest caller stands in a package: pydantic, say, looks at the class of any value."""
    frame = _caller()
    return frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == package


def _caller() -> FrameType | None:
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    return frame
