"""Servers that judge every request by OpenAI's published schema; a bad request fails its test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle.testing import ModelServer, openapi_check

OPENAI = Path(__file__).parents[1] / "data" / "openai"


@pytest.fixture(scope="session")
def published() -> Callable[[dict[str, Any]], str]:
    """Judges the body of a request for a chat completion."""
    return openapi_check(OPENAI / "openapi_subset.json.gz")


@pytest.fixture
def serve(published: Callable[[dict[str, Any]], str]) -> Iterator[Callable[..., ModelServer]]:
    """Start strict servers: ``serve(model, faults=...)``."""
    with contextlib.ExitStack() as stack:
        yield lambda model, **options: stack.enter_context(ModelServer(model, check=published, **options))
