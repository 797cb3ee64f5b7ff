"""Writes the Python of the pages to files that type checkers read, line for line."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pages import NAMES, Block, blocks


def write(folder: Path) -> dict[str, str]:
    """Write the code of all pages; gives the page of each file.

    Every line keeps its number, so what a checker says of a file holds for its page.
    """
    pages: dict[str, str] = {}
    for name in NAMES:
        for file, lines in _files(name).items():
            assert file not in pages, (
                f"{name} and {pages[file]} both write {file}; call one of them otherwise"
            )
            pages[file] = name
            (folder / file).write_text("\n".join(lines) + "\n")
    return pages


def _files(name: str) -> dict[str, list[str]]:
    module = "page_" + name.removesuffix(".md").replace("/", "_").replace("-", "_") + ".py"
    files: dict[str, list[str]] = {}
    for block in blocks(name):
        if block.language == "python":
            lines = files.setdefault(block.file or module, [])
            lines += [""] * (block.line - 2 - len(lines))
            lines += list(_lines(block))
    return files


def _lines(block: Block) -> Iterator[str]:
    """The line of the fence, and those of the block: in a function where it awaits something."""
    if not _awaits(block):
        yield ""
        yield from block.text.splitlines()
        return
    yield f"async def block_{block.line}() -> None:"
    yield from textwrap.indent(block.text, "    ").splitlines()


def _awaits(block: Block) -> bool:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    code = compile(block.text, "", "exec", flags=flags, dont_inherit=True)
    return any(_awaits_here(statement) for statement in code.body)


def _awaits_here(tree: ast.AST) -> bool:
    if isinstance(tree, ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef | ast.Lambda):
        return False
    if isinstance(tree, ast.Await | ast.AsyncWith | ast.AsyncFor):
        return True
    return any(_awaits_here(child) for child in ast.iter_child_nodes(tree))
