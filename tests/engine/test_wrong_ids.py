"""An id that is no text is told as that, and not as something wrong with the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treadle import Engine
from treadle.editing import check_against
from treadle.errors import ConfigurationError

pytestmark = pytest.mark.anyio


def calls(engine: Engine, wrong: Any) -> dict[str, Callable[[], Any]]:
    """Everything that takes an id."""
    return {
        "resume": lambda: engine.resume(wrong),
        "cancel": lambda: engine.cancel(wrong),
        "answer": lambda: engine.answer(wrong, "yes", by="maria"),
        "check_against": lambda: check_against(wrong, wrong, engine.store),
    }


@pytest.mark.parametrize("call", ["resume", "cancel", "answer", "check_against"])
async def test_a_number_in_place_of_an_id_is_refused_with_what_to_write(call: str, tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/runs.db") as engine:
        with pytest.raises(ConfigurationError, match="=17 is no text; write .*='17'"):
            await calls(engine, 17)[call]()


async def test_questions_of_a_number_are_refused(tmp_path: Path) -> None:
    wrong: Any = 17
    async with Engine(f"sqlite:///{tmp_path}/runs.db") as engine:
        with pytest.raises(ConfigurationError, match="run_id=17 is no text"):
            engine.questions(run_id=wrong)
