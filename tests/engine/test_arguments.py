"""What an engine is given that is no graph, no budget and no label is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Engine, graph, node, run
from treadle.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@node
async def double(x: int) -> int:
    return 2 * x


@graph
def doubled(x: int) -> int:
    return double(x)


@pytest.mark.parametrize("thing", [double, double.function, "doubled", None])
async def test_what_is_no_graph_is_neither_run_nor_registered(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is no graph.*@graph"):
        await run(thing, 1)
    with pytest.raises(ConfigurationError, match=r"is no graph.*@graph"):
        Engine(graphs=[thing])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": 0.05}, r'budget=0.05 is no Budget; write Budget\(usd="0.05"\)'),
        ({"labels": ["a"]}, r"labels=\['a'\] are no labels; write a dict"),
        ({"labels": {"a": 1}}, "write a dict of text"),
        ({"run_id": 7}, "run_id=7 is no text; write run_id='7'"),
    ],
)
async def test_options_of_another_type_start_nothing(options: dict[str, Any], text: str) -> None:
    async with Engine() as engine:
        with pytest.raises(ConfigurationError, match=text):
            await engine.start(doubled, 1, **options)
        assert not engine.loops
