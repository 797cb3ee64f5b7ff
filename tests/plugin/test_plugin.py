"""The example package: installed into an environment of its own, and shown whole in its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"
SOURCE = PLUGIN / "src" / "treadle_currency" / "__init__.py"
PAGE = ROOT / "docs" / "how-to" / "own-packages.md"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with Treadle and the package built and installed into it.

    What they need is read from where these tests run: it is the two packages that are looked at.
    """
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = Path(_said(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    command += ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", str(ROOT), str(PLUGIN)]
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    installed = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    return python


def _said(python: Path, code: str) -> str:
    ran = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_both_packages_stand_in_the_fresh_environment(python: Path) -> None:
    code = "import treadle, treadle_currency as c; print(treadle.__file__, c.__file__, sep='\\n')"
    for file in _said(python, code).splitlines():
        assert Path(file).is_relative_to(python.parents[1])


def test_a_graph_runs_with_its_tool_its_index_and_its_model(python: Path) -> None:
    ran = subprocess.run(
        [python, "-I", str(PLUGIN / "desk.py"), "What is 100 EUR in JPY, and what is a yen?"],
        capture_output=True,
        text=True,
    )
    assert ran.stdout == '"16250.00"\nyen: the currency of Japan\n', ran.stderr


def test_the_command_line_finds_a_graph_that_uses_it(python: Path) -> None:
    check = [python, "-I", python.parent / "treadle", "check", str(PLUGIN / "desk.py")]
    ran = subprocess.run(check, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_its_types_are_seen_by_who_installs_it(python: Path) -> None:
    installed = Path(_said(python, "import treadle_currency as c; print(c.__file__)"))
    assert installed.with_name("py.typed").exists()


def page_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_builds_exactly_this_package() -> None:
    header = "# treadle_currency.py\n"
    shown = [block.removeprefix(header) for block in page_blocks("python") if block.startswith(header)]
    assert "\n\n".join(shown).split() == SOURCE.read_text().split()
    assert page_blocks("toml")[0] == (PLUGIN / "pyproject.toml").read_text()
