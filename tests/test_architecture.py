"""Who may import whom, and how large things may grow.  A failure names the offending line.

The tables are the law: a new room gets a line here with its one sentence of purpose in its ``__init__``.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "treadle"
FILES = sorted(SOURCE.rglob("*.py"))

FLOOR = {"errors", "ids", "durations", "given", "fact", "forms", "weights"}
WORDS = {"values", "budget", "retry", "limits", "messages", "failure", "events"}
SOCKETS = FLOOR | WORDS | {"interfaces"}
OUTSIDE = {"providers", "stores", "retrieval", "tracing", "mcp"}
DECLARED = SOCKETS | {"plan"}
EVERYTHING = (
    DECLARED | OUTSIDE | {"nodes", "scheduler", "compose", "engine", "views", "models", "testing", "root"}
)

MAY_IMPORT = {
    "errors": set[str](),
    "ids": set[str](),
    "durations": {"errors"},
    "given": {"errors", "durations"},
    "fact": set[str](),
    "forms": set[str](),
    "weights": set[str](),
    "values": FLOOR,
    "budget": FLOOR,
    "retry": FLOOR,
    "limits": FLOOR,
    "messages": FLOOR | {"budget"},
    "failure": FLOOR,
    "events": FLOOR | {"values", "budget", "failure"},
    "interfaces": FLOOR | WORDS,
    "plan": SOCKETS,
    "nodes": DECLARED,
    "scheduler": FLOOR | WORDS | {"plan"},
    "compose": SOCKETS | OUTSIDE,
    "engine": DECLARED | {"nodes", "scheduler", "compose"},
    "views": FLOOR | WORDS | {"plan"},
    **dict.fromkeys(OUTSIDE, SOCKETS),
    # The doors: what users and programs come in by.
    "root": EVERYTHING,
    "models": EVERYTHING,
    "tools": EVERYTHING,
    "editing": EVERYTHING,
    "testing": EVERYTHING,
    "cli": EVERYTHING,
    "__main__": {"cli"},
    "web": EVERYTHING,
}
"""The rooms, and what each may import besides itself; downwards only."""

ONLY_IN_FUNCTIONS = {("compose", room) for room in OUTSIDE}
"""Rooms that another may import on first use alone."""

PACKAGES = {
    "asyncio": ("stores/writer.py",),
    "trio": ("stores/writer.py",),
    "apsw": ("stores/", "retrieval/"),
    "psycopg": ("stores/postgres",),
    "openai": ("providers/openai",),
    "anthropic": ("providers/anthropic",),
    "genai_prices": ("providers/prices.py",),
    "opentelemetry": ("tracing/",),
    "tenacity": ("retry.py",),
    "mcp": ("mcp/",),
    "xllamacpp": ("providers/local_server.py",),
    "mcp_types": ("mcp/",),
    "uvicorn": ("mcp/",),
    "networkx": ("plan/",),
    "jsonschema": ("forms.py",),
    "typer": ("cli/",),
    "click": ("cli/",),
    "rich": ("cli/",),
}
"""Packages that are dear, or bound to one event loop, and the files that may name them."""

LOADED_ON_FIRST_USE = [name for name in PACKAGES if name != "asyncio"]

CALLS_USER_CODE = {
    "engine/attempt.py", "engine/calls.py", "engine/failures.py", "engine/inner.py", "engine/sessions.py",
    "cli/load.py", "tracing/spans.py", "values.py",
}  # fmt: skip
"""Where ``except Exception`` may stand."""


@dataclass(frozen=True)
class Import:
    """One imported name, and where."""

    file: Path
    line: int
    target: str
    at_load: bool

    def __str__(self) -> str:
        return f"src/treadle/{name_of(self.file)}:{self.line} imports {self.target}"


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def room_of(file: Path) -> str:
    first = file.relative_to(SOURCE).parts[0]
    return "root" if first == "__init__.py" else first.removesuffix(".py")


def imports_of(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            yield Import(file, node.lineno, target, id(node) not in inside)


def room_imported(target: str) -> str:
    """Give the room that ``from treadle.x import y`` reaches; names of the root's own are ``root``."""
    second = target.split(".")[1] if "." in target else ""
    return second if second in MAY_IMPORT else "root"


IMPORTS = [found for file in FILES for found in imports_of(file)]
OURS = [found for found in IMPORTS if found.target.split(".")[0] == "treadle"]


def test_every_room_stands_in_the_table() -> None:
    assert {room_of(file) for file in FILES} <= set(MAY_IMPORT)


def test_imports_go_downwards_only() -> None:
    wrong = [
        f"{found}: {room_of(found.file)} may not import {room_imported(found.target)}"
        for found in OURS
        if room_imported(found.target) not in MAY_IMPORT[room_of(found.file)] | {room_of(found.file)}
    ]
    assert not wrong, "\n".join(wrong)


def test_outside_rooms_load_on_first_use() -> None:
    wrong = [
        f"{found} when it is loaded; import it inside the function that needs it"
        for found in OURS
        if found.at_load and (room_of(found.file), room_imported(found.target)) in ONLY_IN_FUNCTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_dear_packages_are_named_in_their_own_files_alone() -> None:
    wrong = [
        f"{found}; only {', '.join(allowed)} may"
        for found in IMPORTS
        for allowed in [PACKAGES.get(found.target.split(".")[0])]
        if allowed and room_of(found.file) != "testing" and not name_of(found.file).startswith(allowed)
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_treadle_loads_nothing_dear() -> None:
    code = f"import sys, treadle; print([name for name in {LOADED_ON_FIRST_USE!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_broad_excepts_stand_where_user_code_is_called() -> None:
    wrong = [
        f"src/treadle/{name_of(file)}:{node.lineno} catches Exception"
        for file in FILES
        if name_of(file) not in CALLS_USER_CODE and room_of(file) != "testing"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ExceptHandler) and _catches(node, {"Exception"})
    ]
    assert not wrong, "\n".join(wrong)


def _catches(handler: ast.ExceptHandler, names: set[str]) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id in names for one in caught)


def test_no_file_is_long() -> None:
    lengths = {name_of(file): len(file.read_text().splitlines()) for file in FILES}
    assert not {name: length for name, length in lengths.items() if length > 500}
    assert statistics.median(lengths.values()) < 200


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "base", "types", "manager"])
def test_no_file_is_called_after_nothing(word: str) -> None:
    assert not [name_of(file) for file in FILES if word in name_of(file).removesuffix(".py").split("/")]


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, Function):
                yield f"src/treadle/{name_of(file)}:{node.lineno} {node.name}", node


def length_of(function: Function) -> int:
    """Lines without the docstring."""
    assert function.end_lineno is not None
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    text = function.body[0]
    assert text.end_lineno is not None
    return total - (text.end_lineno - text.lineno + 1)


def test_functions_are_short() -> None:
    lengths = {name: length_of(function) for name, function in functions()}
    assert not {name: length for name, length in lengths.items() if length > 80}
    long = {name: length for name, length in lengths.items() if length > 40}
    assert len(long) <= 0.04 * len(lengths), long
    assert statistics.median(lengths.values()) <= 10


BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def depth_of(node: ast.AST, *, above: ast.AST | None = None) -> int:
    """How deep blocks nest below a node; an ``elif`` stands beside its ``if``."""
    is_elif = isinstance(node, ast.If) and isinstance(above, ast.If) and above.orelse == [node]
    own = 1 if isinstance(node, BLOCKS) and not is_elif else 0
    below = (
        depth_of(child, above=node)
        for child in ast.iter_child_nodes(node)
        if not isinstance(child, Function | ast.ClassDef)
    )
    return own + max(below, default=0)


def test_blocks_nest_three_deep_at_most() -> None:
    deep = {name: depth_of(function) for name, function in functions()}
    assert not {name: depth for name, depth in deep.items() if depth > 3}
