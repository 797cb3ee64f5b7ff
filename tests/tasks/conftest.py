"""A shop to copy, and the programs of this folder for its tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from retail_shop import make_shop


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop before anybody has bought anything."""
    path = tmp_path_factory.mktemp("retail") / "shop.db"
    make_shop(path)
    return path
