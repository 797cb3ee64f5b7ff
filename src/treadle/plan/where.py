"""Where in the user's code something was written, for messages."""

from __future__ import annotations

import inspect
import os
from typing import Final

_HERE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def where() -> str:
    """Give ``file:line`` of the nearest caller outside of this package."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"
