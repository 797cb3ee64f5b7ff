"""What an engine is made with is looked at before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Budget, Engine
from treadle.errors import ConfigurationError


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        (
            {"acme": 3},
            r"budgets=\{'acme': 3\} gives no Budget; write budgets=\{'acme': Budget\(usd=\"3\"\)\}",
        ),
        ({"acme": None}, r"gives no Budget"),
        ({3: Budget(usd="3")}, r"the name of a tenant is text, not 3"),
        (Budget(usd="3"), r"says not whose they are; write budgets=\{'acme': Budget\(usd=\"25\"\)\}"),
        ([("acme", Budget(usd="3"))], r"says not whose they are"),
    ],
)
def test_budgets_that_are_none_are_refused_with_what_to_write(budgets: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Engine(budgets=budgets)


def test_budgets_by_tenant_are_taken() -> None:
    Engine(budgets={"acme": Budget(usd="3")})
    Engine(budgets={})
