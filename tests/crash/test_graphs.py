"""The example graphs are crashed at every append and every command inside this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphs import CASES, SOME
from graphs.case import Till

from treadle.interfaces import Store
from treadle.stores import MemoryStore, SqliteStore
from treadle.testing import CrashReport, crash_everywhere
from treadle.testing.crash_report import WAYS

pytestmark = pytest.mark.anyio

SAMPLE = 4


@pytest.fixture
def new_store(
    anyio_backend: tuple[str, dict[str, Any]], tmp_path: Path, long_form: bool
) -> Callable[[], Store]:
    """In memory; in the long form on SQLite with asyncio and trio."""
    numbers = itertools.count()
    if anyio_backend[1] or not long_form:
        return MemoryStore
    return lambda: SqliteStore(str(tmp_path / f"{next(numbers)}.db"))


@pytest.mark.attack
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
async def test_a_crash_makes_no_difference(
    name: str, new_store: Callable[[], Store], long_form: bool
) -> None:
    report = await crash(name, new_store, None if long_form else SAMPLE)
    assert report.struck >= (len(WAYS) - 1) * SAMPLE
    assert report.doubts > 0 or not long_form


@pytest.mark.parametrize("name", SOME)
async def test_a_crash_makes_no_difference_on_sqlite(name: str, tmp_path: Path) -> None:
    numbers = itertools.count()
    await crash(name, lambda: SqliteStore(str(tmp_path / f"{next(numbers)}.db")), 2)


async def crash(name: str, new_store: Callable[[], Store], at_most: int | None) -> CrashReport[Any]:
    """Crash a graph, with a till and a person who looks into it."""
    case, till = CASES[name], Till()
    report = await crash_everywhere(
        case.graph(till),
        *case.args,
        answer=case.answer,
        doubt=till.settle,
        effects=till.take,
        store=new_store,
        resources=[till],
        at_most=at_most,
    )
    till.close()
    return report
