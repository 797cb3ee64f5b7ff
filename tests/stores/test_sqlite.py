"""What only the SQLite store does: files, migrations, batches, checkpoints."""

from __future__ import annotations

import dataclasses
import math
import os
import sqlite3
import threading
from pathlib import Path
from typing import Annotated

import anyio
import apsw
import pytest
from pydantic import PlainSerializer

from treadle.errors import (
    ConfigurationError,
    FormatMismatch,
    OwnershipLost,
    QuestionError,
    StoreError,
    StoreUnavailable,
)
from treadle.events import NodeCompleted
from treadle.ids import NodeId, QuestionId, RunId
from treadle.stores import SqliteStore, queries, transaction
from treadle.testing.store_samples import RUN, answer, asked, cancel, completed, ended, settled, started
from treadle.values import Payload, codec

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def overwrite(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


def pages_logged(path: str) -> int:
    return Path(f"{path}-wal").stat().st_size // (4096 + 24)


def neighbours(path: str) -> list[str]:
    return sorted(file.name for file in Path(path).parent.iterdir())


async def refusal(path: str) -> str:
    store = SqliteStore(path)
    with pytest.raises((FormatMismatch, StoreUnavailable)) as caught:
        await store.open()
    await store.aclose()
    return f"{type(caught.value).__name__}: {caught.value}"


async def test_a_path_in_memory_is_refused_with_advice() -> None:
    for name in (":memory:", "", "file::memory:?cache=shared"):
        with pytest.raises(ConfigurationError, match="write 'memory:'"):
            SqliteStore(name)


async def test_a_database_of_another_program_is_left_alone(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name)")
    connection.close()
    before = content(path)
    assert "another program" in await refusal(path)
    assert content(path) == before
    assert neighbours(path) == ["runs.db"]


async def test_a_file_that_is_no_database_is_refused(path: str) -> None:
    overwrite(path, b"dear diary, " * 500)
    assert (await refusal(path)).startswith(f"FormatMismatch: {path!r} is not an SQLite database")


async def test_a_newer_schema_is_refused(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.aclose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert "upgrade treadle" in await refusal(path)


async def test_a_damaged_database_is_told_with_the_mend(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(*(completed(n, str(n) * 900) for n in range(200)))
    await store.aclose()
    data = content(path)
    overwrite(path, data[: 4096 * 3] + b"\xff" * (len(data) - 4096 * 3))
    await store.open()
    with pytest.raises(FormatMismatch, match=r"runs\.db.*damaged.*\.recover"):
        await store.read(RUN)
    await store.aclose()


async def test_places_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    assert "mkdir -p" in await refusal(str(tmp_path / "none" / "runs.db"))
    assert "is a directory" in await refusal(str(tmp_path))
    assert "StoreUnavailable" in await refusal("/proc/version")


async def test_a_store_that_is_not_open_says_so(path: str) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.read(RUN)
    await store.open()
    log = await store.create(started())
    await store.aclose()
    for use in (lambda: log.append(completed(1)), store._opened):
        with pytest.raises(Exception, match=r"released|not open"):
            use()


async def test_a_missing_event_is_no_quiet_gap(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(*(completed(n) for n in range(5)))
    await log.flush()
    connection = apsw.Connection(path)
    connection.execute("DELETE FROM events WHERE id = ?", ((1 << 32) + 3,))
    connection.close()
    with pytest.raises(FormatMismatch, match="treadle verify r-1"):
        await store.read(RUN)
    assert [fault.seq for fault in await store.verify(RUN)] == [3]
    await store.aclose()


async def test_erased_content_still_verifies(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(completed(1, "secret" * 500))
    await log.flush()
    connection = apsw.Connection(path)
    connection.execute("UPDATE payloads SET form = 2, content = NULL")
    connection.close()
    assert await store.verify(RUN) == []
    event = (await store.read(RUN, after=1))[0].event
    assert isinstance(event, NodeCompleted)
    assert event.result.is_erased
    await store.aclose()


async def test_derived_tables_are_verified(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(asked(), settled("0.10"))
    await log.flush()
    changes = {
        "UPDATE runs SET usd = '0.05'": "spending",
        "UPDATE runs SET status = 'completed'": "status",
        "UPDATE ledger SET usd = '0.01'": "ledger",
        "UPDATE questions SET state = 'answered', answered_by = 'joe'": "questions",
        "UPDATE questions SET state = 'open', answered_by = '', deadline = 1": "questions",
        "UPDATE questions SET deadline = NULL, recipient = 'joe'": "questions",
        "UPDATE runs SET tenant = 'other'": "start",
        "UPDATE runs SET deadline = 5": "start",
        "UPDATE runs SET updated_at = 5": "last change",
        'UPDATE runs SET labels = \'{"a":"b"}\'': "start",
        "UPDATE runs SET head = zeroblob(32)": "head",
    }
    connection = apsw.Connection(path)
    for change, word in changes.items():
        connection.execute(f"SAVEPOINT s; {change}").fetchall()
        connection.execute("RELEASE s")
        assert any(word in fault.what for fault in await store.verify(RUN)), word
    connection.close()
    await store.aclose()


async def test_runs_whose_ids_were_swapped_are_told_and_neither_read_nor_taken_up(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    for run_id in (RUN, RunId("r-2")):
        await (await store.create(started(run_id))).release()
    connection = apsw.Connection(path)
    for now, then in (("x", "r-1"), ("r-1", "r-2"), ("r-2", "x")):
        connection.execute("UPDATE runs SET id = ? WHERE id = ?", (now, then))
    connection.close()
    assert ["'r-2'" in fault.what for fault in await store.verify(RUN)] == [True]
    for refused in (store.read(RUN), store.read(RUN, after=1), store.own(RUN)):
        with pytest.raises(FormatMismatch, match="is that of run 'r-2'"):
            await refused
    await store.aclose()


async def test_content_is_stored_once(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    for number in range(3):
        log = await store.create(started(RunId(f"r-{number}")))
        log.append(*(completed(n, "same" * 500) for n in range(5)))
        await log.flush()
    connection = apsw.Connection(path)
    assert connection.execute("SELECT count(*) FROM payloads").get == 1
    connection.close()
    await store.aclose()


async def test_a_question_id_of_another_run_is_not_taken_over(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(asked())
    await log.flush()
    other = await store.create(started(RunId("r-2")))
    other.append(asked())
    log.append(completed(1))
    with pytest.raises(Exception, match="belongs to another run"):
        await other.flush()
    await log.flush()
    assert [q.run_id for q in await store.questions()] == [RUN]
    assert len(await store.read(RUN)) == 3
    await store.aclose()


async def test_one_overtaken_run_among_many_fails_alone(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    logs = [await store.create(started(RunId(f"r-{n}"))) for n in range(20)]
    connection = apsw.Connection(path)
    connection.execute("UPDATE runs SET fence = 9 WHERE id = 'r-7'")
    connection.close()
    for log in logs:
        log.append(completed(1))
    for log in logs:
        if log.run_id == "r-7":
            with pytest.raises(OwnershipLost, match="another owner"):
                await log.flush()
        else:
            await log.flush()
    assert [len(await store.read(log.run_id)) for log in logs] == [1 if n == 7 else 2 for n in range(20)]
    await store.aclose()


async def test_a_time_that_is_no_number_fails_alone(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    good, bad = [await store.create(started(RunId(f"r-{n}"))) for n in range(2)]
    good.append(completed(1))
    bad.append(dataclasses.replace(completed(1), at=math.nan))
    await good.flush()
    with pytest.raises(StoreError, match="r-1"):
        await bad.flush()
    assert len(await store.read(RunId("r-0"))) == 2
    await store.aclose()


async def test_a_batch_of_any_size_is_written_whole(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    total = 1
    log = await store.create(started())
    for size in (1, 15, 16, 17, 63, 64, 65, 64 + 16 + 15):
        log.append(*(completed(total + n) for n in range(size)))
        await log.flush()
        total += size
    assert [r.seq for r in await store.read(RUN)] == list(range(1, total + 1))
    assert await store.verify(RUN) == []
    await store.aclose()


async def test_what_many_runs_flush_together_fills_few_pages(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    logs = [await store.create(started(RunId(f"r-{n}"))) for n in range(100)]
    written: list[int] = []
    for number in range(1, 15):
        before = pages_logged(path)
        for log in logs:
            log.append(completed(number, "x" * 250))
        for log in logs:
            await log.flush()
        written.append(pages_logged(path) - before)
    assert written[-1] < 50  # over 100 where each run has a page of its own
    await store.aclose()


async def test_runs_that_end_together_are_over_before_anybody_asks(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    for name in ("a", "b"):
        log = await store.create(started(RunId(name)))
        log.append(dataclasses.replace(asked(), question=QuestionId(f"q-{name}")), ended())
    with pytest.raises(QuestionError, match="withdrawn"):  # in the same batch, most likely
        await store.submit(dataclasses.replace(answer(), run_id=RunId("b"), question=QuestionId("q-b")))
    await store.submit(cancel(run_id=RunId("a")))
    assert await store.requests() == []
    assert [await store.verify(RunId(name)) for name in ("a", "b")] == [[], []]
    await store.aclose()


async def test_the_events_of_a_run_alone_are_written_as_text_where_they_were_made(path: str) -> None:
    written_by: list[int] = []

    def note(value: int) -> int:
        written_by.append(threading.get_ident())
        return value

    noting = codec(Annotated[int, PlainSerializer(note)])
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    written_by.clear()
    log.append(dataclasses.replace(completed(1), result=noting.pack(7)))
    await log.flush()
    assert written_by == [threading.get_ident()]
    await store.aclose()


async def test_the_wal_stays_bounded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(transaction, "BUSY_PAGES", 150)  # where the event loop leaves no idle moment
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    for number in range(300):
        log.append(completed(number, os.urandom(1500).hex()))
        await log.flush()
    assert len(content(path + "-wal")) < 1_500_000
    assert len(await store.read(RUN)) == 301
    await store.aclose()


async def test_a_failed_run_does_not_fail_others_for_good(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    result = Payload(object(), codec(int))
    for _ in range(3):
        log.append(NodeCompleted(at=1.0, node=NodeId("a"), attempt=1, started_at=1.0, result=result))
        with pytest.raises(Exception, match="resume the run"):
            await log.flush()
        with pytest.raises(Exception, match="resume the run"):
            await log.release()
        log = await store.own(RUN)
    log.append(ended())
    await log.flush()
    assert (await store.run(RUN)).status == "completed"
    await store.aclose()


async def test_ten_thousand_events_are_read_at_once(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    log = await store.create(started())
    log.append(*(completed(n, n) for n in range(10_000)))
    await log.flush()
    with anyio.fail_after(5):
        assert len(await store.read(RUN)) == 10_001
    await store.aclose()


async def test_every_statement_is_named_once_and_explained() -> None:
    text = Path(queries.__file__).with_name("sql").joinpath("queries.sql").read_text()
    names = [line.removeprefix("-- name: ") for line in text.splitlines() if line.startswith("-- name: ")]
    assert len(names) == len(set(names)) == len(queries.queries())
    for piece in text.split("-- name: ")[1:]:
        assert piece.splitlines()[1].startswith("-- "), piece


async def test_every_statement_is_used() -> None:
    source = "".join(file.read_text() for file in Path(queries.__file__).parent.glob("*.py"))
    assert [name for name in queries.queries() if f'"{name}"' not in source] == []
