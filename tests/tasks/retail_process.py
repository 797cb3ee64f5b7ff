"""Agents that serve a customer, in processes that are killed.

``python retail_process.py`` reads orders from standard input, one JSON line each, and carries each out in a
forked child.  For each it prints how the child ended: ``{"signal": 9}``, or ``{"code": 0}``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

sys.path.insert(0, str(Path(__file__).parent))

from retail_shop import Death, Shop
from retail_tasks import GOODBYE, clerk, tasks

from treadle import Engine
from treadle.ids import RunId
from treadle.stores import SqliteStore

RUN: Final = RunId("r-customer")
PRELOADED: Final = ("trio", "openai", "docstring_parser", "anyio._backends._asyncio", "anyio._backends._trio")
PATIENCE: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """One process, which starts the run of a task or takes it up.

    Attributes:
        url: Of the model.
        folder: Where the shop and the runs are kept, and the number of the process.
        death, at: When it kills itself.
    """

    task: str
    url: str
    folder: str
    backend: str = "asyncio"
    death: Death = ""
    at: int = 0


async def work(order: Order) -> None:
    """Bring the run to its end."""
    folder = Path(order.folder)
    shop = Shop(folder / "shop.db", death=order.death, at=order.at)
    with anyio.fail_after(PATIENCE):
        async with Engine(SqliteStore(str(folder / "runs.db")), resources=[shop]) as engine:
            handle = await engine.start(clerk(order.url), tasks()[order.task].said, run_id=RUN)
            assert await handle.result() == GOODBYE


def main() -> None:
    """Take orders until standard input closes."""
    for name in PRELOADED:
        importlib.import_module(name)
    clerk("http://127.0.0.1:1/v1").plan.to_json()  # the tools' schemas are read here, once for all children
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            perform(order)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"signal": -code} if code < 0 else {"code": code}), flush=True)


def perform(order: Order) -> None:
    """Be the child: whatever happens, never return to the loop above."""
    code = 1
    try:
        Path(order.folder, "process").write_text(str(os.getpid()))
        anyio.run(work, order, backend=order.backend)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
