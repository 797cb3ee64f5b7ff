"""Histories of each format are read for ever: they verify, replay to the same commands, and go on."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest
from tests.histories.keeping import DATABASES, Kept, commands, finish, kept, pipelines
from tests.histories.write import write

from treadle.cli.main import main
from treadle.cli.options import existing_store
from treadle.events import FORMAT_VERSION, RunStarted, Unknown
from treadle.ids import RunId

pytestmark = pytest.mark.anyio

RUNS = [
    pytest.param(database, one, id=f"{database.stem} {one.run_id}")
    for database in DATABASES
    for one in kept(database)
]
UNFINISHED = [run for run in RUNS if run.values[1].result is not None]  # type: ignore[union-attr]


@pytest.fixture
def graphs() -> Iterator[Any]:
    """The graphs as they are now, which have run nothing yet."""
    yield pipelines()
    del sys.modules["pipelines"]


@pytest.fixture
def database() -> Path:
    """The newest database; tests go through all of them."""
    return DATABASES[-1]


@pytest.fixture
def copied(database: Path, tmp_path: Path) -> Path:
    """A copy of the database of a test."""
    return Path(shutil.copy(database, tmp_path / "copy.db"))


def test_this_release_has_left_its_histories() -> None:
    assert f"format-{FORMAT_VERSION}" in [database.stem for database in DATABASES]


@pytest.mark.parametrize(("database", "run"), RUNS)
async def test_a_kept_history_is_as_it_was_written(copied: Path, run: Kept) -> None:
    async with existing_store(f"sqlite:///{copied}") as store:
        assert await store.verify(RunId(run.run_id), head=run.head) == []
        summary = await store.run(RunId(run.run_id))
    assert (summary.status, summary.events, summary.head) == (run.status, run.events, run.head)


@pytest.mark.parametrize(("database", "run"), RUNS)
async def test_a_kept_history_leads_to_the_same_commands(copied: Path, run: Kept) -> None:
    async with existing_store(f"sqlite:///{copied}") as store:
        events = [one.event for one in await store.read(RunId(run.run_id))]
    assert isinstance(events[0], RunStarted)
    assert not [event for event in events if isinstance(event, Unknown)]
    assert commands(events) == run.commands


@pytest.mark.parametrize(("database", "run"), UNFINISHED)
async def test_a_kept_run_goes_on_to_its_result_and_repeats_nothing(
    copied: Path, run: Kept, graphs: Any
) -> None:
    url = f"sqlite:///{copied}"
    result = await finish(url, getattr(graphs, run.graph), run.run_id, run.answers)
    assert (result, sorted(graphs.RAN)) == (run.result, run.runs)
    async with existing_store(url) as store:
        assert await store.verify(RunId(run.run_id), head=run.head) == []


@pytest.mark.parametrize(("database", "run"), RUNS)
def test_every_changed_part_is_found(copied: Path, run: Kept, *, long_form: bool) -> None:
    anyio.run(_flip, copied, run, 16 if long_form else 1)


async def _flip(copied: Path, run: Kept, often: int) -> None:
    """Change bytes of each stored part, one at a time; the part is told by the place of its event."""
    connection, chance = apsw.Connection(str(copied)), random.Random(run.run_id)
    async with existing_store(f"sqlite:///{copied}") as store:
        for seq, cell in cells(connection, run.run_id):
            for at in chance.sample(range(len(cell.content)), min(often, len(cell.content))):
                cell.flip(at)
                faults = await store.verify(RunId(run.run_id))
                assert seq in [fault.seq for fault in faults], f"byte {at} of {cell}"
                cell.restore()
        assert await store.verify(RunId(run.run_id)) == []
    connection.close()


@pytest.mark.parametrize("database", DATABASES, ids=lambda database: str(database.stem))
def test_treadle_verify_reads_them(
    copied: Path, database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in kept(database):
        arguments = ["treadle", "verify", run.run_id, "--store", f"sqlite:///{copied}", "--head", run.head]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0, run.head in capsys.readouterr().out) == (0, True)


def test_the_script_writes_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        anyio.run(write, tmp_path / f"{name}.db")
    assert kept(tmp_path / "one.db") == kept(tmp_path / "two.db")


class Cell:
    """A stored value, of which a byte can be changed."""

    def __init__(
        self, connection: apsw.Connection, table: str, column: str, row: int, content: bytes
    ) -> None:
        self._connection = connection
        self._where = (table, column, row)
        self.content = content

    def __str__(self) -> str:
        table, column, row = self._where
        return f"{table}.{column} of row {row}"

    def flip(self, at: int) -> None:
        """Change one byte."""
        self._write(self.content[:at] + bytes([self.content[at] ^ 1]) + self.content[at + 1 :])

    def restore(self) -> None:
        """Undo the change."""
        self._write(self.content)

    def _write(self, content: bytes) -> None:
        table, column, row = self._where
        statement = f"UPDATE {table} SET {column} = ? WHERE id = ?"
        self._connection.execute(statement, (content, row))


def cells(connection: apsw.Connection, run_id: str) -> Iterator[tuple[int, Cell]]:
    """Every stored part of a history, with the place of the first event that it belongs to."""
    [(number,)] = connection.execute("SELECT no FROM runs WHERE id = ?", (run_id,))
    first, last = number << 32, (number + 1) << 32
    seen = set[int]()
    statement = "SELECT id, hash, body, parts, inline FROM events WHERE id > ? AND id < ? ORDER BY id"
    for row, *contents in list(connection.execute(statement, (first, last))):
        named = dict(zip(("hash", "body", "parts", "inline"), contents, strict=True))
        yield from (
            (row - first, Cell(connection, "events", name, row, one)) for name, one in named.items() if one
        )
        places = json.loads(named["parts"]).values() if named["parts"] else ()
        for payload in {place for place in places if isinstance(place, int)} - seen:
            seen.add(payload)
            [stored] = connection.execute("SELECT digest, content FROM payloads WHERE id = ?", (payload,))
            for name, one in zip(("digest", "content"), stored, strict=True):
                yield row - first, Cell(connection, "payloads", name, payload, one)
