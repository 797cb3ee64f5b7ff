"""What every test stands on: both event loops, no network, no configuration from outside.

- An async test says ``pytestmark = pytest.mark.anyio`` and runs on asyncio, uvloop (where installed)
  and trio.
- Nothing connects beyond this machine; who tries fails the test.
- Keys and settings in the environment are hidden, and no local model server is looked for.
- ``@pytest.mark.needs("strace")`` skips where a program is missing.  Where ``TREADLE_CI`` is set
  everything is installed, so any skip is a failure there.
- ``make attack`` sets ``TREADLE_ATTACK``: tests that have a long form ask the fixture ``long_form``.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

IN_CI = bool(os.environ.get("TREADLE_CI"))
LONG_FORM = bool(os.environ.get("TREADLE_ATTACK"))

_HIDDEN = ("OPENAI_", "ANTHROPIC_", "TREADLE_", "OTEL_")
_KEPT = {"TREADLE_CI", "TREADLE_ATTACK"}

settings.register_profile(
    "default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("attack", settings.get_profile("default"), max_examples=1500, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "default"))


def _backends() -> Iterator[Any]:
    yield pytest.param(("asyncio", {}), id="asyncio")
    if importlib.util.find_spec("uvloop"):
        yield pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")
    yield pytest.param(("trio", {}), id="trio")


@pytest.fixture(params=list(_backends()))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loop a test runs on."""
    return request.param  # type: ignore[no-any-return]  # pytest types every param as Any


@pytest.fixture
def long_form() -> bool:
    """Whether the test should take its time, because ``make attack`` asked for it."""
    return LONG_FORM


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_HIDDEN) and name not in _KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TREADLE_LOCAL_PORTS", "")


class NetworkForbidden(AssertionError):
    """A test tried to reach another machine."""


def _is_here(host: object) -> bool:
    if not isinstance(host, str | bytes):
        return host is None
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name in {"", "localhost"}


def _forbid_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is a UNIX socket
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not _is_here(host):
        raise NetworkForbidden(f"a test must not reach {host!r}; serve it on 127.0.0.1 instead")


sys.addaudithook(_forbid_network)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing."""
    for mark in item.iter_markers("needs"):
        missing = [program for program in mark.args if shutil.which(program) is None]
        if missing:
            pytest.skip(f"{', '.join(missing)} is not installed here (.ci/run installs it)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where every part is supposed to be there."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and TREADLE_CI allows no skip: {reason}"
    return report
