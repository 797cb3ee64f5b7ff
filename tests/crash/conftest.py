"""The laboratory, opened once for all tests of this room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from treadle.testing import server_process

HERE = Path(__file__).parent
PIPELINE = HERE / "pipeline.py"
SCHEMA = HERE.parent / "data" / "openai" / "openapi_subset.json.gz"

sys.path.insert(0, str(HERE))

from laboratory import Laboratory  # noqa: E402
from workshop import Workshop, close_workshop, open_workshop  # noqa: E402


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Generator[Laboratory]:
    folder = tmp_path_factory.mktemp("crash")
    environment = {**os.environ, "SUPPORT_INDEX": str(folder / "handbook.sqlite")}
    with (
        server_process(f"{PIPELINE}:rehearsal", count_file=folder / "requests", schema=SCHEMA) as server,
        subprocess.Popen(
            [sys.executable, str(PIPELINE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as forker,
    ):
        yield Laboratory(folder=folder, server=server, forker=forker)
        assert forker.stdin is not None
        forker.stdin.close()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Generator[Workshop]:
    opened = open_workshop(tmp_path_factory.mktemp("workshop").resolve())
    yield opened
    close_workshop(opened)
