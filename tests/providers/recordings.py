"""Recorded exchanges with both providers: what was asked, and what came back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from interfaces import KINDS

DATA = Path(__file__).parents[1] / "data"
ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in gzip.decompress((DATA / "recorded" / "exchanges.jsonl.gz").read_bytes()).splitlines()
]
ROWS += [
    {"provider": "anthropic", "path": "/v1/messages", "status": 200, "sse": file.read_text() + "\n\n",
     "cassette": file.name, "headers": {}}
    for file in sorted((DATA / "anthropic").glob("*.sse.txt"))
]  # fmt: skip
ANSWERED = [row for row in ROWS if row["status"] == 200]
REFUSED = [row for row in ROWS if row["status"] != 200]
STREAMED = [row for row in ANSWERED if row.get("sse")]


def interface_of(row: dict[str, Any]) -> str:
    return next(name for name, (path, _) in KINDS.items() if row["path"].endswith(path))
