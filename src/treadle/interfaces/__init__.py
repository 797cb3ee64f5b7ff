"""The sockets: what a model, an index, a store, a clock and a body's context must offer.

Each is as narrow as it can be, so that a fake of it is short and a new one is one file.  Nothing here
does anything; the rule a newcomer would break: no default behaviour in a Protocol.
"""

from __future__ import annotations

from treadle.interfaces.bodies import Ask, Context
from treadle.interfaces.outside import (
    Clock,
    HedgedModel,
    Index,
    Model,
    Passage,
    StreamingModel,
    TimeoutClock,
)
from treadle.interfaces.spans import ModelSpan, RunSpan, Span, Tracer
from treadle.interfaces.storage import (
    DueRun,
    Fault,
    LedgerLine,
    Question,
    Request,
    RunLog,
    RunSummary,
    Store,
)
from treadle.interfaces.tools import ListedTool, Report, ToolServer, ToolSession

__all__ = [
    "Ask",
    "Clock",
    "TimeoutClock",
    "Context",
    "DueRun",
    "Fault",
    "HedgedModel",
    "Index",
    "ListedTool",
    "LedgerLine",
    "Model",
    "ModelSpan",
    "Passage",
    "Question",
    "Report",
    "Request",
    "RunLog",
    "RunSpan",
    "RunSummary",
    "Span",
    "Store",
    "StreamingModel",
    "ToolServer",
    "ToolSession",
    "Tracer",
]
