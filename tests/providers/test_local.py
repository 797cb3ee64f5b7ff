"""``local:PATH``: a tiny file, really loaded and really asked by llama.cpp."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from enum import Enum
from pathlib import Path
from typing import Any

import anyio
import pytest
import tiny_gguf
from pydantic import BaseModel

from treadle import Engine, Prompt, Retry, agent, graph, node
from treadle.compose import check_model, choose_model
from treadle.errors import ConfigurationError, PlanError, ProviderUnavailable, RequestRejected
from treadle.events import MoneySettled
from treadle.messages import Delta, ModelRequest, ToolSpec, user
from treadle.models import LocalModel, Model, hedge
from treadle.nodes.graph import Graph
from treadle.nodes.node import Node
from treadle.providers import local_process
from treadle.testing import ScriptedModel

pytestmark = pytest.mark.anyio


class Mood(Enum):
    GLAD = "glad"
    SAD = "sad"


class Verdict(BaseModel):
    mood: Mood
    urgent: bool


def ask(text: str = "hello", **options: Any) -> ModelRequest:
    return ModelRequest(messages=(user(text),), max_output_tokens=16, **options)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_gguf.write(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture
async def model(tiny: str) -> AsyncIterator[LocalModel]:
    opened = LocalModel(tiny)
    yield opened
    await opened.aclose()
    assert not local_process.running()


def judging(model: str | Model) -> Graph[[str], Verdict]:
    @agent(model=model)
    async def judge(ticket: str) -> Prompt[Verdict]:
        return Prompt(f"How is it? {ticket}")

    @graph
    def judged(ticket: str) -> Verdict:
        return judge(ticket)

    return judged


async def test_it_answers_and_counts_and_costs_nothing(model: LocalModel) -> None:
    response = await model.complete(ask())
    assert response.message.text
    assert response.usage.input_tokens > len("user: hello")
    assert 0 < response.usage.output_tokens <= 16
    assert model.price is not None
    assert (model.price.basis, model.price.cost(response.usage)) == ("local", 0)


async def test_it_counts_no_more_than_its_bound(model: LocalModel) -> None:
    tool = ToolSpec(name="find", description="Find it.", parameters={"type": "object", "properties": {}})
    request = ask("größer als 10 € 🙂", tools=(tool,))
    response = await model.complete(request)
    assert response.usage.input_tokens <= (model.input_bound(request.messages, request) or 0)


async def test_a_stream_gives_the_pieces_of_its_answer(model: LocalModel) -> None:
    pieces: list[Delta] = []
    response = await model.stream(ask(), pieces.append)
    assert "".join(piece.text for piece in pieces) == response.message.text
    assert len(pieces) > 1
    assert response.usage.output_tokens


async def test_an_agent_of_a_local_model_gives_its_type(tiny: str) -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(judging(f"local:{tiny}"), "The parcel is late.")
        verdict = await handle.result()
        history = [each.event for each in await handle.history()]
    settled = [event for event in history if isinstance(event, MoneySettled)]
    assert isinstance(verdict.mood, Mood)
    assert {(one.provider, one.model, one.basis, one.charged.usd) for one in settled} == {
        ("local", tiny, "local", 0)
    }
    assert not local_process.running()


async def test_runs_and_names_of_one_file_share_one_process(tiny: str) -> None:
    async with Engine("memory:") as engine:
        named, given = judging(f"local:{tiny}"), judging(LocalModel(Path(tiny))).named("given")
        for handle in [await engine.start(each, str(n)) for n in range(3) for each in (named, given)]:
            await handle.result()
        assert len(local_process.running()) == 1
    assert not local_process.running()


async def test_other_settings_are_another_process(tiny: str, model: LocalModel) -> None:
    wide = LocalModel(tiny, context=1024, at_once=2)
    async with anyio.create_task_group() as group:
        group.start_soon(model.complete, ask())
        group.start_soon(wide.complete, ask())
    assert len(local_process.running()) == 2
    await wide.aclose()
    assert len(local_process.running()) == 1


async def test_more_requests_than_it_computes_at_once_all_get_their_answers(model: LocalModel) -> None:
    answered: list[str] = []

    async def one(text: str) -> None:
        answered.append((await model.complete(ask(text))).stop)

    async with anyio.create_task_group() as group:
        for n in range(30):
            group.start_soon(one, f"ticket {n}")
    assert len(answered) == 30


async def test_what_does_not_fit_says_how_long_it_may_be(tiny: str) -> None:
    short = LocalModel(tiny, context=256)
    with pytest.raises(RequestRejected, match=r"does not fit .* raise context=256 of its LocalModel"):
        await short.complete(ask("x" * 400))
    await short.aclose()


async def test_further_fields_reach_the_server(tiny: str) -> None:
    seeded = LocalModel(tiny, options={"seed": 7, "cache_prompt": False})
    first, second = await seeded.complete(ask()), await seeded.complete(ask())
    assert first.message == second.message
    await seeded.aclose()


# -- what is wrong is said before anything is spent ------------------------------------------------------


def missing(tiny: str) -> str:
    return f"{tiny}.part"


def text(tiny: str) -> str:
    Path(f"{tiny}.txt").write_text("weights")
    return f"{tiny}.txt"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (missing, "cannot be read .No such file or directory.* put a GGUF file there"),
        (os.path.dirname, "cannot be read .Is a directory"),
        (text, "is not a GGUF file .it begins with b'weig'.*convert_hf_to_gguf.py"),
    ],
)
async def test_a_file_that_cannot_be_served_is_a_fault_of_the_plan(
    tiny: str, wrong: Callable[[str], str], said: str
) -> None:
    path = wrong(tiny)
    for refusal in (check_model, choose_model):
        with pytest.raises(ConfigurationError, match=said):
            refusal(f"local:{path}")
    for model in (f"local:{path}", LocalModel(path), hedge(LocalModel(path), after="2s")):
        with pytest.raises(PlanError, match=said):
            _ = judging(model).plan


def test_all_files_of_a_graph_that_are_missing_are_told_at_once(tiny: str) -> None:
    first, second = (_judge("", LocalModel(f"{tiny}.{name}")).named(name) for name in ("first", "second"))

    @graph
    def judged(ticket: str) -> tuple[Verdict, Verdict]:
        return first(ticket), second.using(retry=Retry(attempts=2))(ticket)

    with pytest.raises(PlanError) as told:
        _ = judged.plan
    assert all(f"{tiny}.{name}" in str(told.value) for name in ("first", "second"))
    assert len(told.value.faults) == 2


async def test_a_model_of_a_missing_file_that_is_asked_all_the_same_says_so(tiny: str) -> None:
    model = LocalModel(missing(tiny))
    assert "put a GGUF file there" in model.complaint
    with pytest.raises(ProviderUnavailable, match="put a GGUF file there"):
        await model.complete(ask())
    await model.aclose()


def test_without_the_package_it_is_said_what_to_install(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigurationError, match=r"not installed; pip install 'treadle\[local\]'"):
        check_model(f"local:{tiny}")
    assert "pip install 'treadle[local]'" in LocalModel(tiny).complaint


def test_a_variable_with_a_file_that_is_not_there_is_refused(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_LOCAL_MODEL", missing(tiny))
    with pytest.raises(ConfigurationError, match="put a GGUF file there"):
        choose_model("auto")


async def test_nothing_is_done_for_a_graph_with_a_missing_file(tiny: str) -> None:
    done: list[str] = []

    @node
    async def note(ticket: str) -> str:
        done.append(ticket)
        return ticket

    judge = _judge(missing(tiny))

    @graph
    def judged(ticket: str) -> Verdict:
        return judge(note(ticket))

    async with Engine("memory:") as engine:
        with pytest.raises(PlanError, match="cannot be read"):
            await engine.start(judged, "a")
    assert done == []


@pytest.mark.parametrize("is_object", [False, True])
def test_a_file_whose_model_is_replaced_need_not_be_there(tiny: str, is_object: bool) -> None:
    judge, script = _judge(missing(tiny), LocalModel(missing(tiny)) if is_object else None), ScriptedModel([])

    @graph
    def judged(ticket: str) -> Verdict:
        return judge.using(model=script)(ticket)

    @graph
    def around(ticket: str) -> Verdict:
        return judge(ticket)

    for replaced in (judged, around.using(model=script), around.using(model=f"local:{tiny}")):
        assert replaced.plan.digest


def _judge(path: str, model: LocalModel | None = None) -> Node[[str], Verdict]:
    @agent(model=model or f"local:{path}")
    async def judge(ticket: str) -> Prompt[Verdict]:
        return Prompt(ticket)

    return judge


@pytest.mark.parametrize("numbers", [{"threads": 0}, {"at_once": 0}, {"context": -1}])
def test_numbers_that_cannot_be_meant_are_refused(tiny: str, numbers: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(numbers))):
        LocalModel(tiny, **numbers)


# -- by name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "local:"])
@pytest.mark.parametrize("name", ["auto", "auto:small"])
def test_a_variable_puts_a_file_behind_auto(
    tiny: str, monkeypatch: pytest.MonkeyPatch, name: str, prefix: str
) -> None:
    monkeypatch.setenv("TREADLE_LOCAL_MODEL", prefix + tiny)
    choice = choose_model(name, rehearsal=object())
    assert choice.line == f"model {tiny!r} of local, from TREADLE_LOCAL_MODEL"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert choose_model(name).source == "OPENAI_API_KEY"


def test_a_path_begins_at_home_or_at_the_working_directory(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(Path(tiny).parent)
    monkeypatch.setenv("HOME", folder)
    monkeypatch.chdir(folder)
    for path in ("~/tiny.gguf", "tiny.gguf"):
        check_model(f"local:{path}")
        assert repr(LocalModel(path)) == f"LocalModel({path!r})"


def test_a_bare_file_is_told_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'local:tiny\.gguf'"):
        check_model("tiny.gguf")
