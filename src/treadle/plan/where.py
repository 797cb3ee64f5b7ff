"""Where in the user's code something was written, for messages."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Final

_HERE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BETWEEN: Final = (_HERE, "<frozen ")  # such as abc, which asks for the class of a value
_LIBRARIES: Final = (os.path.dirname(os.path.abspath(os.__file__)) + os.sep, "<")  # "<string>": made by one
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_DEBUGGERS: Final = {"bdb", "debugpy", "pdb", "pydevd", "_pydevd_bundle"}


def where() -> str:
    """Give ``file:line`` of the nearest caller outside of this package."""
    frame = _caller()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"


def refused_at() -> str:
    """Give ``file:line`` of what the user wrote, for a use that a stand-in refuses.

    Where a library that the graph function called is what used it (``json.dumps(x)``), that is the line
    that called the library.
    """
    frames = _since_wiring()
    if not frames:
        return where()
    chosen = _users(frames)
    return f"{chosen.f_code.co_filename}:{chosen.f_lineno}"


def raised_at(error: BaseException) -> str:
    """Give ``file:line`` of what the user wrote, for an error that a library raised about a stand-in."""
    frames: list[tuple[FrameType, int]] = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(_HERE):
            frames.clear()
        else:
            frames.insert(0, (frame, line))
    chosen = _users([frame for frame, _ in frames]) if frames else None
    return next((f"{frame.f_code.co_filename}:{line}" for frame, line in frames if frame is chosen), "?")


def is_watched() -> bool:
    """Whether it is a debugger that looks at a stand-in, between two lines of the graph function."""
    return any(_package(frame) in _DEBUGGERS for frame in _since_wiring())


def defined_at(function: Callable[..., object]) -> str:
    """Give ``file:line`` of a function's first line, decorators included."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else "?"


def is_asked_by(package: str) -> bool:
    """Whether the nearest caller stands in a package: pydantic, say, looks at the class of any value."""
    frame = _caller()
    return frame is not None and _package(frame) == package


def _caller() -> FrameType | None:
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    return frame


def _since_wiring() -> Sequence[FrameType]:
    """The callers up to the function that is being wired, that one last; none where none is wired."""
    found: list[FrameType] = []
    frame = _caller()
    while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
        found.append(frame)
        frame = frame.f_back
    return found if frame is not None else ()


def _users(frames: Sequence[FrameType]) -> FrameType:
    """Which of the frames is the user's: the nearest that is no library's, or of the last one's package."""
    home = _package(frames[-1])  # a graph may be installed itself
    of_home = next(frame for frame in frames if _package(frame) == home)
    return next((frame for frame in frames if not _is_library(frame)), of_home)


def _is_library(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_LIBRARIES) or any(part in file for part in _INSTALLED)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
