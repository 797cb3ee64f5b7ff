"""The reference pages say what is there: all of it, and nothing else."""

from __future__ import annotations

import inspect
import re
import textwrap
import types

import pytest
from pages import read, section

import treadle
from treadle import errors, models, retrieval, stores, testing, tools

API = "docs/reference/api.md"
ERRORS = "docs/reference/errors.md"
ROOMS = [treadle, models, tools, testing, stores, retrieval]
DECORATORS = [treadle.node, treadle.tool, treadle.agent, treadle.human, treadle.graph]


def names(text: str) -> set[str]:
    """The names in the first column of the tables ``name | what it is for``."""
    tables = re.findall(r"^\| (?:name|error) \|.*\n\|---.*\n((?:\|.*\n?)*)", text, re.MULTILINE)
    return {name for table in tables for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_the_page_lists_exactly_what_a_room_exports(room: types.ModuleType) -> None:
    assert names(section(API, room.__name__)) == set(room.__all__)


@pytest.mark.parametrize("decorator", DECORATORS, ids=lambda decorator: decorator.__name__)
def test_the_page_lists_the_options_of_a_decorator(decorator: types.FunctionType) -> None:
    rows = dict(re.findall(r"^\| `@(\w+)` \| (.*) \|$", read(API), re.MULTILINE))
    row = rows[decorator.__name__]
    if row.startswith("the same, and "):
        row = f"{rows['node']} {row}"
    named = {option for option in re.findall(r"`(\w+)", row) if f'or `"{option}' not in row}
    assert named == set(inspect.signature(decorator).parameters) - {"function"}


@pytest.mark.parametrize("cls", [treadle.Engine, treadle.RunHandle], ids=lambda cls: cls.__name__)
def test_the_page_lists_methods_that_are_there(cls: type) -> None:
    table = read(API).partition(f"| `{cls.__name__}` | |\n")[2].partition("\n\n")[0]
    first_cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]
    listed = re.findall(r"`(?:await )?(\w+)(?:\(([^)]*)\))?`", " ".join(first_cells))
    assert len(listed) >= 4
    for name, options in listed:
        method = cls if name == cls.__name__ else getattr(cls, name)
        named = set(re.findall(r"(\w+)=", options))
        assert not named or named <= set(inspect.signature(method).parameters)


def _errors() -> dict[str, type[BaseException]]:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    own = [cls for cls in classes if cls.__module__ == errors.__name__]
    return {cls.__name__: cls for cls in own if issubclass(cls, BaseException)}


def test_the_page_lists_every_error() -> None:
    assert names(read(ERRORS)) == set(_errors())


def test_the_page_draws_the_tree_as_the_module_does() -> None:
    tree = read(ERRORS).partition("```text\n")[2].partition("```")[0]
    assert textwrap.indent(tree, "    ") in (errors.__doc__ or "")


def test_the_page_names_attributes_that_errors_have() -> None:
    for name, cell in re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", read(ERRORS), re.MULTILINE):
        for attribute in re.findall(r"`(\w+)`", cell):
            assert attribute in inspect.getsource(_errors()[name])
