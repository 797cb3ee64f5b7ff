"""Databases that are cut short, or in which bits are flipped: told, never taken for what was written."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest
from damaged import RUNS, Found, Sample, flip, look, make

from treadle import Ask, Engine, graph, human
from treadle.errors import FormatMismatch, StoreError
from treadle.ids import RunId
from treadle.stores import SqliteStore
from treadle.testing.store_samples import RUN, completed, started

pytestmark = [pytest.mark.attack, pytest.mark.timeout(3600)]

SEED = 20261122
KINDS = (
    "header", "schema", "free", "log, header", "log, frame header", "log, frame",
    "events, internal", "events, leaf", "payloads, internal", "payloads, leaf", "payloads, overflow",
    "payloads_by_digest, leaf", "runs, leaf", "ledger, leaf", "questions, leaf", "requests, leaf",
)  # fmt: skip


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return anyio.run(make, tmp_path_factory.mktemp("damage"))


def check(sample: Sample, found: Found, where: str, *, has_whole_log: bool = True) -> None:
    """Demand that every history is told to be damaged, or is what was written.

    A log counts up to its last whole commit: what comes after is as if it had never been.
    """
    for run in RUNS:
        history, written = found.histories[run], sample.histories[run]
        if isinstance(history, str) or list(history) == list(written):
            continue
        is_earlier = not has_whole_log and list(history) == list(written[: len(history)])
        assert is_earlier, f"{where}: run {run!r} was given as something that nobody wrote"


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_told_or_makes_no_difference(
    sample: Sample, kind: str, long_form: bool, tmp_path: Path
) -> None:
    chance = random.Random(f"{SEED} {kind}")
    for number in range(150 if long_form else 3):
        copy = tmp_path / f"{number}.db"
        where = flip(sample, kind, chance, copy)
        check(sample, anyio.run(look, copy), where, has_whole_log=not kind.startswith("log"))
        for file in tmp_path.glob(f"{number}.db*"):
            file.unlink()


def test_the_sample_has_pages_of_every_kind(sample: Sample) -> None:
    assert set(KINDS) <= set(sample.places)


def test_a_database_cut_short_is_told_at_every_length(
    sample: Sample, long_form: bool, tmp_path: Path
) -> None:
    whole = (sample.folder / "whole.db").read_bytes()
    for number, length in enumerate(range(0, len(whole), 4_000 if long_form else 60_000)):
        copy = tmp_path / f"{number}.db"
        copy.write_bytes(whole[:length])
        Path(f"{copy}-locks").touch()
        found = anyio.run(look, copy)
        if length < len(whole) // 2:
            assert all(isinstance(history, str) for history in found.histories.values()), length
        check(sample, found, f"the first {length} bytes", has_whole_log=False)


def test_a_log_cut_short_gives_a_beginning_of_what_was_written(
    sample: Sample, long_form: bool, tmp_path: Path
) -> None:
    log = (sample.folder / "whole.db-wal").read_bytes()
    for number, length in enumerate(range(0, len(log), 1_500 if long_form else 40_000)):
        copy = tmp_path / f"{number}.db"
        copy.write_bytes((sample.folder / "whole.db").read_bytes())
        Path(f"{copy}-wal").write_bytes(log[:length])
        check(sample, anyio.run(look, copy), f"the first {length} bytes of the log", has_whole_log=False)


@pytest.mark.anyio
async def test_a_database_that_was_emptied_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "runs.db"))
    await store.open()
    await store.create(started())
    await store.aclose()
    (tmp_path / "runs.db").write_bytes(b"")
    with pytest.raises(FormatMismatch, match=r"is empty, and was a store.*-locks"):
        await store.open()


@pytest.mark.anyio
async def test_a_damaged_run_leaves_the_others_alone(sample: Sample, tmp_path: Path) -> None:
    copy = tmp_path / "runs.db"
    data = bytearray((sample.folder / "whole.db").read_bytes())
    place = data.index(b"r-3 7 r-3 7")
    data[place] ^= 1
    copy.write_bytes(data)
    store = SqliteStore(str(copy))
    await store.open()
    with pytest.raises(StoreError, match=r"event \d+ of run 'r-3'.*treadle verify r-3"):
        await store.read(RunId("r-3"))
    log = await store.own(RUN)
    log.append(completed(500))
    await log.flush()
    assert [record.event for record in await store.read(RUN)][-1] == completed(500)
    await store.aclose()


@human(to="office")
async def look_at(letter: str) -> Ask[str]:
    return Ask("What shall we do with this?", show=letter)


@graph
def letters(letter: str) -> str:
    return look_at(letter)


@pytest.mark.anyio
async def test_an_engine_goes_on_with_the_runs_that_are_whole(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with Engine(f"sqlite:///{database}") as engine:
        for run_id in ("r-whole", "r-damaged"):
            handle = await engine.start(letters, f"a letter of {run_id}", run_id=run_id)
            assert await handle.settled() == "waiting"
    data = bytearray(database.read_bytes())
    data[data.index(b"a letter of r-damaged")] ^= 1
    database.write_bytes(data)
    async with Engine(f"sqlite:///{database}", graphs=[letters]) as engine:
        for question in await engine.questions():
            await engine.answer(question.id, "frame it", by="maria")
        with pytest.raises(FormatMismatch, match=r"event \d of run 'r-damaged' is not what was written"):
            await engine.resume("r-damaged")
        whole = await engine.resume("r-whole")
        assert await whole.result() == "frame it"
