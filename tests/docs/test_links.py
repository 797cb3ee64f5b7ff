"""Links between pages lead somewhere, and commands that pages show exist."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main
from pages import NAMES, ROOT, anchors, blocks, prose, read

from treadle.cli.main import VERBS as LISTED
from treadle.cli.main import app

GROUP: Any = typer.main.get_command(app)
VERBS = {name: GROUP.get_command(None, name) for name in LISTED}

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_page_and_a_heading_of_it(name: str) -> None:
    for link in LINK.findall(prose(name)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name} links to {link}"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{name} links to {link}"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs/")])
def test_every_page_can_be_reached_from_the_index(name: str) -> None:
    if name == "docs/index.md":
        return
    path = name.removeprefix("docs/")
    listed = "decisions/" if path.startswith("decisions/") else path
    assert f"({listed})" in read("docs/index.md")


def commands(name: str) -> list[str]:
    """The `treadle` commands in a page's blocks and between its words."""
    shown = [
        line.removeprefix("$ ")
        for block in blocks(name)
        if block.language in {"sh", "console"}
        for line in block.text.replace("\\\n", " ").splitlines()
        if re.match(r"(\$ )?treadle ", line)
    ]
    return shown + re.findall(r"`(treadle [a-z][^`\n]*)`", prose(name))


@pytest.mark.parametrize("name", [name for name in NAMES if commands(name)])
def test_every_command_that_is_shown_exists_with_its_options(name: str) -> None:
    for command in commands(name):
        words = shlex.split(command)
        verb = VERBS.get(words[1])
        assert verb is not None, f"{name}: {command}"
        known = {option for parameter in verb.params for option in parameter.opts}
        asked = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert asked <= known | {"--help"}, f"{name}: {command}"
