"""A time that a test sets, and stores to ask people through."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from set_clock import SetClock  # it stands beside this file


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The address of a store in a file."""
    return f"sqlite:///{tmp_path / 'people.db'}"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, database: str) -> str:
    """The address of a store: each kind there is."""
    return "memory:" if request.param == "memory" else database
