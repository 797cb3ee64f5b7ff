"""What decorators and ``using`` refuse: options that would be swallowed, and things that are none."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Prompt, WiringError, agent, graph, node


@node
async def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@agent
async def think(x: int) -> Prompt[int]:
    return Prompt(str(x))


@graph
def doubled(x: int) -> int:
    return double(x)


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        (double, {"timout": "3s"}, r"node 'double' has no option 'timout'; did you mean 'timeout'\?"),
        (think, {"max_turn": 1}, "did you mean 'max_turns'"),
        (doubled, {"budgett": None}, "graph 'doubled' has no option 'budgett'; did you mean 'budget'"),
        (double, {"max_turns": 1}, "node 'double' asks no model"),
        (double, {"retry": 5}, r"retry=5 is no Retry; write retry=Retry\(attempts=5\)"),
        (double, {"budget": 0.05}, r'budget=0.05 is no Budget; write budget=Budget\(usd="0.05"\)'),
        (doubled, {"budget": 3}, r'write budget=Budget\(usd="3"\)'),
        (think, {"max_turns": "4"}, "max_turns='4' is no whole number above 0"),
    ],
)
def test_using_refuses_what_it_would_have_to_swallow(target: Any, options: Any, text: str) -> None:
    with pytest.raises(WiringError, match=text):
        target.using(**options)


@pytest.mark.parametrize("decorator", [node, agent, graph])
def test_a_number_is_no_budget_and_the_message_spells_the_budget(decorator: Any) -> None:
    with pytest.raises(WiringError, match=r'write budget=Budget\(usd="0.05"\)'):
        decorator(budget=0.05)
