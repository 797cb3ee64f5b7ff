"""The page on the scheduler draws its states and moves from the table they are checked against."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from pages import read

from treadle.scheduler.scheduler import Scheduler
from treadle.scheduler.states import MEANINGS, MOVES, NAMES

PAGE = "docs/why/scheduler.md"
NUMBERS = {10: "Ten", 11: "Eleven", 12: "Twelve"}


def states() -> Iterator[str]:
    yield "| state | a vertex is there while |"
    yield "|---|---|"
    for state, name in enumerate(NAMES):
        yield f"| {name} | {MEANINGS[state]} |"


def moves() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"  [*] --> {NAMES[0]}"
    for before, after, why in MOVES:
        yield f"  {NAMES[before]} --> {NAMES[after]}: {why.replace(';', ',')}"
    yield "```"


@pytest.mark.parametrize(("name", "lines"), [("states", states), ("moves", moves)])
def test_the_page_says_what_the_table_says(name: str, lines: object) -> None:
    text = read(PAGE)
    found = text[text.index(f"<!-- {name} -->") : text.index(f"<!-- /{name} -->")]
    wanted = "\n".join(lines())  # type: ignore[operator]  # one of the functions above
    assert found == f"<!-- {name} -->\n{wanted}\n"


def test_the_page_names_every_kind_of_event_that_the_scheduler_heeds() -> None:
    text = read(PAGE)
    table = text[text.index("| event | what") : text.index("| command | what")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    heeded = [kind.__name__ for kind in Scheduler._handlers]
    assert sorted(named) == sorted(heeded)
    assert f"{NUMBERS[len(heeded)]} kinds of event" in text
