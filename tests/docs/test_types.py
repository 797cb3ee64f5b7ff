"""The Python in the pages passes pyright and mypy in their strictest setting."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typed
from pages import ROOT

pytestmark = pytest.mark.timeout(300)

STUDYING = {"reportUnusedExpression": False, "reportUnusedFunction": False}
"""A page may look at a plan without doing anything with it, and show a block that awaits."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "include": ["*.py"], **STUDYING}
    (made / "pyrightconfig.json").write_text(json.dumps({**settings, "extraPaths": [str(ROOT / "examples")]}))
    return made


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, str]:
    return typed.write(folder)


@pytest.fixture(scope="module")
def wrong(folder: Path, pages: dict[str, str]) -> set[str]:
    """The lines that say of themselves that they are wrong: there the editor should complain."""
    return {
        f"{page}:{number}"
        for file, page in pages.items()
        for number, line in enumerate((folder / file).read_text().splitlines(), 1)
        if line.endswith("# wrong")
    }


def test_pyright_finds_what_is_meant_to_be_wrong_and_no_more(
    folder: Path, pages: dict[str, str], wrong: set[str]
) -> None:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run([*command, "-p", str(folder)], capture_output=True, text=True, check=False)
    found = {
        f"{pages[Path(one['file']).name]}:{one['range']['start']['line'] + 1}": one["message"]
        for one in json.loads(ran.stdout)["generalDiagnostics"]
    }
    assert not {line: message for line, message in found.items() if line not in wrong}
    assert found.keys() == wrong


def test_mypy_finds_what_is_meant_to_be_wrong_and_no_more(
    folder: Path, pages: dict[str, str], wrong: set[str]
) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += ["--python-executable", sys.executable, *sorted(pages)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert not ran.stderr
    said = re.findall(r"^([\w.]+):(\d+): error: (.*)$", ran.stdout, re.MULTILINE)
    found = {f"{pages[file]}:{line}": message for file, line, message in said}
    assert not {line: message for line, message in found.items() if line not in wrong}
    assert found.keys() == wrong
