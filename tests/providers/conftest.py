"""Servers that judge every request by the providers' published schemas; a bad request fails its test.

The modules beside the tests are made importable: the interfaces, and what servers do on bad days.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from treadle.testing import ModelServer, messages_check, openapi_check
from treadle.testing.judging import Check

sys.path.insert(0, str(Path(__file__).parent))

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """One event loop for each library: to the SDKs, uvloop is asyncio."""
    return str(request.param)


@pytest.fixture(scope="session")
def published() -> Mapping[str, Check]:
    """Judges the body of a request, for each interface."""
    described = DATA / "openai" / "openapi_subset.json.gz"
    return {
        "/chat/completions": openapi_check(described),
        "/responses": openapi_check(described, "CreateResponse"),
        "/messages": messages_check(DATA / "anthropic" / "messages_schemas.json.gz"),
    }


@pytest.fixture
def serve(published: Mapping[str, Check]) -> Iterator[Callable[..., ModelServer]]:
    """Start strict servers: ``serve(model, faults=...)``."""
    with contextlib.ExitStack() as stack:
        yield lambda model, **options: stack.enter_context(ModelServer(model, check=published, **options))
