"""Writing a log once more after a sync of it has failed (see ``tests/crash/test_failing_disk.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.stores import rewriting


def test_the_bytes_stay_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "CHUNK", 7)
    log = tmp_path / "log"
    log.write_bytes(bytes(range(100)))
    rewriting.write_again(str(log))
    assert log.read_bytes() == bytes(range(100))


def test_where_there_is_no_log_there_is_nothing_to_write(tmp_path: Path) -> None:
    rewriting.write_again(str(tmp_path / "log"))
    assert list(tmp_path.iterdir()) == []
