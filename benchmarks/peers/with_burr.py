"""Burr's side: a chain of actions; durable with its asynchronous SQLite persister, saved after each action.

It is a state machine that takes one action at a time: a fan or layers cannot be drawn with it.
"""

from __future__ import annotations

import itertools
import sys
import uuid
from pathlib import Path
from typing import Any

from burr.core import ApplicationBuilder, State, action
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister
from measure import NODES, STEPS, main

FOLDER = Path(sys.argv[2])


@action(reads=["x"], writes=["x"])
async def step(state: State) -> State:
    return state.update(x=state["x"])


def builder(count: int) -> Any:
    names = [f"n{number}" for number in range(count)]
    return (
        ApplicationBuilder()
        .with_actions(**dict.fromkeys(names, step))
        .with_transitions(*itertools.pairwise(names))
        .with_entrypoint("n0")
        .with_state(x=1)
    )


async def chain() -> None:
    app = await builder(NODES).abuild()
    await app.arun(halt_after=[f"n{NODES - 1}"])


async def stored() -> None:
    async with AsyncSQLitePersister.from_values(db_path=str(FOLDER / "burr.db")) as persister:
        await persister.initialize()
        made = builder(STEPS).with_state_persister(persister).with_identifiers(app_id=uuid.uuid4().hex)
        app = await made.abuild()
        await app.arun(halt_after=[f"n{STEPS - 1}"])


main({"chain": (chain, NODES), "durable": (stored, STEPS)})
