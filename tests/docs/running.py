"""Runs the blocks of a page, in order, in a folder of its own."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

from outputs import Outputs
from pages import ROOT, Block, blocks

_MAY_END_WITH = {0, 3}  # done; waits for a person


class Page:
    """A page that is being run.

    Its Python shares one module, as if it stood in one file.  A block with ``await`` outside of a
    function runs in an event loop of its own.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._module = types.ModuleType("page")
        self._outputs = Outputs()
        (folder / "examples").symlink_to(ROOT / "examples")

    def run(self) -> None:
        """Run all of it."""
        printed = ""
        for block in blocks(self._name):
            with self._said_where(block):
                if block.file:
                    self._write(block)
                elif block.language == "python":
                    printed = self._execute(block)
                elif block.language == "text" and block.follows and printed:
                    self._check(block.text, printed)
                elif block.language == "console":
                    self._console(block)
            if block.language != "python":
                printed = ""

    @contextlib.contextmanager
    def _said_where(self, block: Block) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            error.add_note(f"in the block at {self._name}:{block.line}")
            raise

    def _write(self, block: Block) -> None:
        path = self._folder / block.file
        before = path.read_text() if path.exists() else ""
        path.write_text(before + ("\n\n" if before else "") + block.text)

    def _execute(self, block: Block) -> str:
        self._forget_modules()
        sys.modules["page"] = self._module
        code = compile(
            "\n" * (block.line - 1) + block.text,
            str(ROOT / self._name),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.run(eval(code, self._module.__dict__))
            else:
                exec(code, self._module.__dict__)
        return out.getvalue()

    def _forget_modules(self) -> None:
        """What was imported out of the page's folder may have grown since."""
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self._folder)):
                del sys.modules[name]

    def _check(self, shown: str, came: str) -> None:
        difference = self._outputs.compare(shown, came)
        assert not difference, difference

    def _console(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, shown = _joined(part).partition("\n")
            self._check(shown, self._shell(self._outputs.command(command)))

    def _shell(self, command: str) -> str:
        binaries = Path(sys.executable).parent
        environment = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "PYTHONUTF8": "1",
        }
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert ran.returncode in _MAY_END_WITH, f"`{command}` ended with {ran.returncode}:\n{ran.stdout}"
        return ran.stdout


def _joined(command: str) -> str:
    """Lines that end with a backslash go on in the next."""
    return re.sub(r"\\\n\s*", "", command)
