"""LangGraph's side: a StateGraph with a reducer for what many nodes write, as its documentation shows.

Durable: the asynchronous SQLite checkpointer of its own package, with ``durability="sync"``: the mode in
which a step is saved before the next one starts.
"""

from __future__ import annotations

import operator
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from measure import LAYERS, NODES, STEPS, WIDTH, layered_needs, main

FOLDER = Path(sys.argv[2])
LIMIT: Any = {"recursion_limit": 1000}


class One(TypedDict):
    x: int


class Many(TypedDict):
    values: Annotated[list[int], operator.add]


class Table(TypedDict):
    values: Annotated[dict[int, int], operator.or_]


async def step(state: One) -> Any:
    return {"x": state["x"]}


async def branch(_state: Many) -> Any:
    return {"values": [1]}


async def join(state: Any) -> Any:
    return {"values": type(state["values"])()}


def chain_of(count: int) -> Any:
    made: Any = StateGraph(One)
    before = START
    for number in range(count):
        made.add_node(f"n{number}", step)
        made.add_edge(before, f"n{number}")
        before = f"n{number}"
    made.add_edge(before, END)
    return made


def fan() -> Any:
    made: Any = StateGraph(Many)
    names = [f"n{number}" for number in range(NODES - 1)]
    for name in names:
        made.add_node(name, branch)
        made.add_edge(START, name)
    made.add_node("join", join)
    made.add_edge(names, "join")
    made.add_edge("join", END)
    return made.compile()


def layered() -> Any:
    made: Any = StateGraph(Table)
    for number, needs in enumerate(layered_needs()):

        async def mix(state: Table, number: int = number, needs: tuple[int, ...] = needs) -> Any:
            values = [state["values"][need] for need in needs] or [1, 1, 1]
            return {"values": {number: values[0] + values[1] - values[2]}}

        made.add_node(f"n{number}", mix)
        made.add_edge([f"n{need}" for need in needs] if needs else START, f"n{number}")
    made.add_node("join", join)
    made.add_edge([f"n{LAYERS * WIDTH - WIDTH + place}" for place in range(WIDTH)], "join")
    made.add_edge("join", END)
    return made.compile()


CHAIN, FAN, LAYERED = chain_of(NODES).compile(), fan(), layered()
DURABLE = chain_of(STEPS)


async def stored() -> None:
    async with AsyncSqliteSaver.from_conn_string(str(FOLDER / "langgraph.db")) as saver:
        compiled = DURABLE.compile(checkpointer=saver)
        config = {"configurable": {"thread_id": uuid.uuid4().hex}, **LIMIT}
        await compiled.ainvoke({"x": 1}, config, durability="sync")


main(
    {
        "chain": (lambda: CHAIN.ainvoke({"x": 1}, LIMIT), NODES),
        "fan": (lambda: FAN.ainvoke({"values": []}, LIMIT), NODES),
        "layered": (lambda: LAYERED.ainvoke({"values": {}}, LIMIT), LAYERS * WIDTH + 1),
        "durable": (stored, STEPS),
    }
)
