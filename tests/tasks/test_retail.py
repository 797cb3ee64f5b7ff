"""76 tasks of a shop's customers, solved through the whole stack by a model that knows the calls."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from retail_shop import Record, Shop, copy_of
from retail_tasks import GOODBYE, SCHEMA, answer, clerk, expected, tasks, went_well

from treadle import Engine
from treadle.nodes.graph import Graph
from treadle.stores import MemoryStore
from treadle.testing import ModelServer, ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

ELSEWHERE = 6


def chosen(backend: str) -> list[str]:
    """All tasks on asyncio alone; some on the other event loops."""
    known = list(tasks())
    return known if backend == "asyncio" else random.Random(backend).sample(known, ELSEWHERE)


async def solve(graph: Graph[[str], str], task: str, shop: Shop) -> tuple[bool, ...]:
    """Let an agent solve a task; tell which of its calls went well."""
    async with Engine(MemoryStore(), resources=[shop]) as engine:
        handle = await engine.start(graph, tasks()[task].said)
        assert await handle.result() == GOODBYE
        return went_well([recorded.event for recorded in await handle.history()])


async def test_every_task_ends_as_it_must(
    template: Path, tmp_path: Path, anyio_backend: tuple[str, Record]
) -> None:
    backend, options = anyio_backend
    solved = list[str]()
    names = chosen("uvloop" if options else backend)
    with ModelServer(ScriptedModel(answer), check=SCHEMA) as server:
        graph = clerk(server.url)
        for task in names:
            shop = Shop(copy_of(template, tmp_path / "shop.db"))
            went = await solve(graph, task, shop)
            assert shop.calls == [name for name, _ in tasks()[task].calls]
            if went == expected()[task].went_well and shop.changed() == expected()[task].changed:
                solved.append(task)
            shop.close()
        assert len(server.received) == sum(len(tasks()[task].calls) + 1 for task in names)
    assert solved == names


def test_there_are_76_tasks_and_some_are_meant_to_fail_and_some_to_change_nothing(template: Path) -> None:
    ends = expected().values()
    assert len(ends) == len(tasks()) == 76
    assert sum(len(task.calls) for task in tasks().values()) == sum(len(end.went_well) for end in ends) == 375
    assert sum(not all(end.went_well) for end in ends) == 11
    assert sum(not end.changed for end in ends) == 7


def test_nothing_is_expected_to_change_into_what_it_was(template: Path) -> None:
    shop = Shop(template)
    assert shop.changed() == {}
    for end in expected().values():
        assert all(shop.was(*place) != record for place, record in end.changed.items())
    shop.close()
