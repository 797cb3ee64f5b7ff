"""The examples as modules, each test with a bank and an index of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(autouse=True)
def bank_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the example keeps its bank during this test."""
    monkeypatch.setenv("SUPPORT_BANK", str(tmp_path / "bank.db"))
    monkeypatch.setenv("SUPPORT_INDEX", str(tmp_path / "handbook.sqlite"))
    return tmp_path / "bank.db"


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "data" / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def messages() -> list[dict[str, Any]]:
    """The customer messages that ship with the example."""
    return read_lines("messages.jsonl")


@pytest.fixture(scope="session")
def judgments() -> dict[str, dict[str, Any]]:
    """By message: the dataset's intent, and the handbook pages that answer it."""
    return {line["id"]: line for line in read_lines("judgments.jsonl")}
