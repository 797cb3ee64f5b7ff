"""An id that is no text is told as that, and not as something wrong with the store."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import Engine
from treadle.editing import check_against
from treadle.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("call", ["resume", "cancel", "answer", "questions", "check_against"])
async def test_a_number_in_place_of_an_id_is_refused_with_what_to_write(call: str, tmp_path: Any) -> None:
    wrong: Any = 17
    async with Engine(f"sqlite:///{tmp_path}/runs.db") as engine:
        with pytest.raises(ConfigurationError, match="=17 is no text; write .*='17'"):
            if call == "answer":
                await engine.answer(wrong, "yes", by="maria")
            elif call == "questions":
                await engine.questions(run_id=wrong)
            elif call == "check_against":
                graph: Any = None
                await check_against(graph, wrong, engine.store)
            else:
                await getattr(engine, call)(wrong)
