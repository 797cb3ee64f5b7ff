"""A database with pages of every kind, and what bits are flipped in: for ``test_damage.py``."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from treadle.errors import StoreError, TreadleError
from treadle.events import Recorded
from treadle.ids import RunId
from treadle.interfaces import Fault
from treadle.stores import SqliteStore
from treadle.testing.store_samples import QUESTION, RUN, answer, asked, completed, settled, started

RUNS: Final = (RUN, RunId("r-2"), RunId("r-3"))
PAGE: Final = 4096
WAL_HEADER: Final = 32
FRAME_HEADER: Final = 24


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A database that is whole, with its log, and what it holds.

    Attributes:
        histories: What it gives.
        places: Offsets in the database, by the kind of page; and in its log, by the part of a frame.
    """

    folder: Path
    histories: Mapping[RunId, Sequence[Recorded]]
    places: Mapping[str, Sequence[range]]


async def make(folder: Path) -> Sample:
    """Write histories of every kind of content, and leave half of them in the log."""
    store = SqliteStore(str(folder / "live.db"))
    await store.open()
    for number, run in enumerate(RUNS):
        await _fill(store, run, number)
    await store.submit(answer())
    await store.aclose()  # all of that is moved to the database
    _free_pages(folder / "live.db")
    await store.open()
    log = await store.own(RunId("r-2"))
    log.append(*(completed(n, f"late {n} " * 60) for n in range(300, 320)))
    await log.flush()
    histories = {run: await store.read(run) for run in RUNS}
    for end in ("", "-wal"):
        shutil.copy(folder / f"live.db{end}", folder / f"whole.db{end}")
        shutil.copy(folder / f"live.db{end}", folder / f"read.db{end}")
    await store.aclose()
    return Sample(folder=folder, histories=histories, places=dict(_places(folder / "read.db")))


async def _fill(store: SqliteStore, run: RunId, number: int) -> None:
    log = await store.create(started(run))
    chance = random.Random(number)
    log.append(*(completed(n, f"{run} {n} " * chance.randint(1, 12)) for n in range(60)))
    log.append(*(completed(n, f"{run} {n} " * 90) for n in range(60, 110)))
    log.append(completed(200, chance.randbytes(9000).hex()))
    log.append(*(settled(f"0.{n:02}", node=f"expert.{n}", request=n) for n in range(1, 60)))
    if run == RUN:
        log.append(asked())
    await log.flush()


def _free_pages(path: Path) -> None:
    """Leave some pages to the list of free ones."""
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(40000)); DROP TABLE filler"
    )
    connection.close()


def _places(path: Path) -> Iterator[tuple[str, list[range]]]:
    log = Path(f"{path}-wal").stat().st_size
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    found: dict[str, list[range]] = {"header": [range(100)], "schema": [range(100, PAGE)]}
    used = {1}
    query = "SELECT name, pagetype, pageno FROM dbstat WHERE pageno > 1"
    for name, kind, page in connection.execute(query).fetchall():
        found.setdefault(f"{name}, {kind}", []).append(range((page - 1) * PAGE, page * PAGE))
        used.add(page)
    count = connection.execute("PRAGMA page_count").get
    free = [page for page in range(1, count + 1) if page not in used]
    found["free"] = [range((page - 1) * PAGE, page * PAGE) for page in free]
    yield from found.items()
    frames = range(WAL_HEADER, log, FRAME_HEADER + PAGE)
    yield "log, header", [range(WAL_HEADER)]
    yield "log, frame header", [range(start, start + FRAME_HEADER) for start in frames]
    yield "log, frame", [range(start + FRAME_HEADER, start + FRAME_HEADER + PAGE) for start in frames]


def flip(sample: Sample, kind: str, chance: random.Random, copy: Path) -> str:
    """Copy the database, flip one bit of a page, and say where."""
    place = chance.choice(chance.choice(sample.places[kind]))
    for end in ("", "-wal"):
        shutil.copy(sample.folder / f"whole.db{end}", f"{copy}{end}")
    file = Path(f"{copy}-wal" if kind.startswith("log") else copy)
    data = bytearray(file.read_bytes())
    bit = 1 << chance.randrange(8)
    data[place] ^= bit
    file.write_bytes(data)
    return f"{kind}: bit {bit} of byte {place} of {file.name}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a damaged database gives: histories and faults by run, or why it gives none."""

    histories: Mapping[RunId, Sequence[Recorded] | str]
    faults: Mapping[RunId, Sequence[Fault]]


async def look(path: Path) -> Found:
    """Read everything from a database, and write to it; only typed errors may come."""
    histories: dict[RunId, Sequence[Recorded] | str] = {}
    faults: dict[RunId, Sequence[Fault]] = {}
    store = SqliteStore(str(path))
    try:
        await store.open()
    except StoreError as error:
        return Found(histories=dict.fromkeys(RUNS, str(error)), faults={})
    for run in RUNS:
        try:
            histories[run] = await store.read(run)
            faults[run] = await store.verify(run)
        except StoreError as error:
            histories.setdefault(run, str(error))
    for reading in (store.questions(), store.requests(), store.runs(), store.ledger(RUN)):
        try:
            await reading
        except StoreError:
            continue
    try:
        await store.question(QUESTION)
        log = await store.own(RUNS[-1])
        log.append(completed(400, "more"))
        await log.flush()
    except TreadleError:
        pass
    await store.aclose()
    return Found(histories=histories, faults=faults)
