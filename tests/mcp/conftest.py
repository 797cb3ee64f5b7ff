"""MCP servers: the reference ones from npm, and one that misbehaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mcp_servers import NODE, PACKAGES, RELEASE, TOOLS, RawServer


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop a test runs on; each starts servers, so one loop for each library is enough."""
    return str(request.param)


@pytest.fixture(scope="session")
def npm_servers() -> Path:
    """Where npm has put the reference servers; installed once for this machine, with the node of a wheel."""
    folder = Path(tempfile.gettempdir()) / f"treadle-mcp-servers-{RELEASE}-{os.getuid()}"
    modules = folder / "node_modules" / "@modelcontextprotocol"
    if not modules.exists():
        making = Path(tempfile.mkdtemp(prefix="treadle-mcp-"))
        npm = NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [
            str(NODE / "node"),
            str(npm),
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            *PACKAGES,
        ]
        environment = {**os.environ, "PATH": f"{NODE}{os.pathsep}{os.environ['PATH']}"}
        made = subprocess.run(command, cwd=making, env=environment, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"npm cannot install the reference servers: {made.stderr[-300:]}")
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
    return modules


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[RawServer]:
    """The server that misbehaves, with all its tools; a test leaves no process of it behind."""
    server = RawServer(tmp_path)
    server.write(TOOLS)
    yield server
    assert not server.running
