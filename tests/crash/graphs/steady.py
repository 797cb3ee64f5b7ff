"""Work that nobody pays for and that takes its time, so that commits nobody waits for are seen by others."""

from __future__ import annotations

import anyio

from graphs.case import Case
from treadle import graph, node
from treadle.messages import ModelRequest


@node
async def longer(text: str) -> str:
    await anyio.sleep(0.01)
    return text + "."


@graph
def steady(text: str) -> str:
    for _ in range(25):
        text = longer(text)
    return text


def says(request: ModelRequest) -> object:
    raise AssertionError("nobody is asked")


CASE = Case(wired=steady, args=["wait"], says=says, answers={})
