"""DBOS's side: a workflow of steps on its SQLite system database, with its JSON serializer.

Every workflow of it is durable: the chain and the fan are its durable ones too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dbos import DBOS, DBOSPortableJSONSerializer
from measure import NODES, STEPS, main

FOLDER = Path(sys.argv[2])
DBOS(
    config={
        "name": "bench",
        "system_database_url": f"sqlite:///{FOLDER / 'dbos.db'}",
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "ERROR",
    }
)


@DBOS.step()
async def step(x: int) -> int:
    return x


@DBOS.workflow()
async def chain(count: int) -> int:
    x = 1
    for _ in range(count):
        x = await step(x)
    return x


@DBOS.workflow()
async def fan(count: int) -> int:
    return len(await asyncio.gather(*(step(1) for _ in range(count))))


DBOS.launch()
try:
    main(
        {
            "chain": (lambda: chain(NODES), NODES),
            "fan": (lambda: fan(NODES - 1), NODES),
            "durable": (lambda: chain(STEPS), STEPS),
        }
    )
finally:
    DBOS.destroy()
