"""Names of nodes and graphs stand in paths, and must not look like parts of one."""

from __future__ import annotations

import pytest

from treadle import WiringError, graph, node


async def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("name", ["", "a/b", "each(3)"])
def test_a_name_that_looks_like_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(WiringError, match="is no name for a node"):
        node(name=name)(double)
    with pytest.raises(WiringError, match="is no name for a node"):
        node(double).named(name)
    with pytest.raises(WiringError, match="is no name for a graph"):
        graph(lambda x: x).named(name)


def test_brackets_elsewhere_in_a_name_are_fine() -> None:
    assert node(double).named("double (slowly)").name == "double (slowly)"
