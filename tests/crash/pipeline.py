"""A pipeline in processes of their own, each of which can be told where to kill itself.

``python pipeline.py`` reads orders from standard input, one JSON line each, and runs each in a forked
child, which starts the run or takes it up, answers whatever it asks people, and writes what came of
it to a file.  For each it prints how the child ended: ``{"signal": 9}``, or ``{"code": 0}``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
from pydantic_core import to_jsonable_python

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from support import Reply, Ticket, desk, expert, handbook, rehearsal, support, triage  # noqa: E402

from treadle import Budget, Engine, graph  # noqa: E402
from treadle.interfaces import Question  # noqa: E402
from treadle.models import OpenAIModel  # noqa: E402
from treadle.stores import SqliteStore  # noqa: E402
from treadle.testing.crashing import CrashingLog, CrashingStore, When  # noqa: E402

RUN = "r-crash"
TICKET = Ticket(customer="c-101", body="Why have I been charged twice?")

PRELOADED = ("openai.resources.chat.completions", "trio", "docstring_parser", "anyio._backends._asyncio",
             "anyio._backends._trio")  # fmt: skip
"""What a child would else import after its fork, in most of its time."""

Mode = Literal["", "before", "after", "unflushed"]
"""How a process dies: with all earlier appends recorded and this one not; with this one as well; or
with nothing recorded that nobody had flushed."""


@graph(budget=Budget(usd="0.20", seconds=120))
def checked(ticket: Ticket) -> list[Reply]:
    """The expert and a person work side by side."""
    return [expert(ticket, handbook(triage(ticket).question, k=4)), desk(ticket)]


GRAPHS: dict[str, Any] = {"hard": support, "person": checked}


@dataclass(frozen=True, kw_only=True)
class Order:
    """One process.

    Attributes:
        graph: ``"hard"`` or ``"person"``.
        url: The model server's.
        database, bank, result: Files.
        mode, at: How it dies, and at which append; ``""`` is not at all.
    """

    graph: str
    url: str
    database: str
    bank: str
    result: str
    backend: str = "asyncio"
    mode: Mode = ""
    at: int = 0


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a process that lived to its end came to."""

    value: Any
    appends: int
    asked: Sequence[str]


class Killer:
    """Ends this process at the moment that was ordered."""

    def __init__(self, order: Order) -> None:
        self._at = order.at
        self._when: When | None = None
        if order.mode:
            self._when = "after" if order.mode == "after" else "before"
        self._waits = order.mode != "unflushed"

    def __call__(self, number: int, when: When, log: CrashingLog | None) -> None:
        if number != self._at or when != self._when:
            return
        while self._waits and log is not None and log.queued:
            os.sched_yield()  # the writer is a thread: it goes on while this one holds the event loop up
        os.kill(os.getpid(), signal.SIGKILL)


async def work(order: Order) -> Done:
    """Start the run or take it up, and answer people's questions until it ends."""
    store = CrashingStore(SqliteStore(order.database), Killer(order), is_lazy=order.mode == "unflushed")
    model = OpenAIModel(rehearsal.name, base_url=order.url, api_key="-", price=rehearsal.price)
    asked: list[str] = []
    async with Engine(store) as engine:
        handle = await engine.start(GRAPHS[order.graph].using(model=model), TICKET, run_id=RUN)
        while await handle.settled() == "waiting":
            for question in await engine.questions(run_id=RUN):
                asked.append(question.about)
                await engine.answer(question.id, answer(question), by="maria", opening=question.opening)
        value = await handle.result()
        await model.aclose()
    return Done(value=to_jsonable_python(value), appends=store.appends, asked=asked)


def answer(question: Question) -> object:
    """What the person says: an effect in doubt is to be tried again, under its own key."""
    if question.about == "doubt":
        return {"outcome": "run_again"}
    return {"answer": f"{question.prompt}: done."}


def main() -> None:
    """Take orders until standard input closes."""
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            perform(order)
        status = os.waitpid(child, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"signal": -code} if code < 0 else {"code": code}), flush=True)


def perform(order: Order) -> None:
    """Be the child: whatever happens, never return to the loop above."""
    code = 1
    try:
        os.environ["SUPPORT_BANK"] = order.bank
        done = anyio.run(work, order, backend=order.backend)
        Path(order.result).write_text(json.dumps(asdict(done)))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
