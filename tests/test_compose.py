"""Stores by URL and models by name."""

from __future__ import annotations

import socket
from decimal import Decimal
from pathlib import Path

import pytest

from treadle.budget import Price
from treadle.compose import check_model, choose_model, open_index, open_store, resolve_model
from treadle.errors import ConfigurationError
from treadle.messages import ModelRequest, user
from treadle.models import AnthropicModel, OpenAIModel, OpenAIResponsesModel
from treadle.testing import ModelServer, ScriptedModel

ASKED = ModelRequest(messages=(user("hi"),))


def port_of(server: ModelServer) -> str:
    return server.url.split(":")[2].split("/")[0]


def test_stores_open_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert type(open_store("memory:")).__name__ == "MemoryStore"
    assert type(open_store("sqlite:///runs.db")).__name__ == "SqliteStore"
    assert type(open_store(f"sqlite:///{tmp_path}/runs.db")).__name__ == "SqliteStore"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlit:///x.db", "did you mean 'sqlite'"),
        ("runs.db", "write 'sqlite:///runs.db' for a file"),
        ("sqlite:runs.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("memory:runs", "has no path"),
        ("postgresql://localhost/x", "not in this release"),
    ],
)
def test_a_url_that_leads_nowhere_says_what_to_write(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_store(url)


def test_an_index_object_is_given_back() -> None:
    class Mine:
        async def search(self, query: str, *, k: int) -> list[object]:
            return []

    mine = Mine()
    assert open_index(mine) is mine  # type: ignore[arg-type, comparison-overlap]  # passages of its own


@pytest.mark.parametrize(
    "name",
    ["auto", "auto:small", "openai:gpt-6-sol", "openai:org/model:free", "openai-responses:gpt-6-sol",
     "anthropic:claude-opus-5"],
)  # fmt: skip
def test_known_forms_of_names_pass(name: str) -> None:
    check_model(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("claude-opus-5", "did you mean 'anthropic:claude-opus-5'"),
        ("anthropic:", "'anthropic:NAME'"),
        ("auto:smal", "did you mean 'auto:small'"),
        ("gpt-5", "did you mean 'openai:gpt-5'"),
        ("openai:", "write 'openai:NAME'"),
        ("mistral:large", "or pass a Model object"),
    ],
)
def test_unknown_forms_say_what_to_write(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_model(name)


def test_a_key_takes_openai_s_own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    large, small = choose_model("auto"), choose_model("auto:small")
    assert (large.source, large.model.name != small.model.name) == ("OPENAI_API_KEY", True)
    assert large.model.price is not None
    assert small.model.price is not None


@pytest.mark.parametrize("name", ["auto", "auto:small"])
def test_anthropic_s_key_takes_its_own_models_where_openai_has_none(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    chosen = choose_model(name)
    assert (chosen.source, chosen.model.provider) == ("ANTHROPIC_API_KEY", "anthropic")
    assert chosen.model.price is not None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert choose_model(name).model.provider == "openai"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("openai:m", OpenAIModel),
        ("openai-responses:m", OpenAIResponsesModel),
        ("anthropic:m", AnthropicModel),
    ],
)
def test_what_stands_before_the_colon_says_whose_interface_is_spoken(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type
) -> None:
    model = resolve_model(name)
    assert (type(model), model.name) == (kind, "m")
    monkeypatch.setenv("TREADLE_MODEL", name)
    assert type(resolve_model("auto")) is kind


def test_the_names_behind_auto_are_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("TREADLE_MODEL", "big")
    monkeypatch.setenv("TREADLE_MODEL_SMALL", "openai:tiny")
    assert resolve_model("auto").name == "big"
    assert resolve_model("auto:small").name == "tiny"


def test_a_base_url_takes_the_first_model_it_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer(ScriptedModel([], name="listed")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        choice = choose_model("auto")
        assert (choice.model.name, choice.source) == ("listed", f"OPENAI_BASE_URL={server.url}")
        monkeypatch.setenv("TREADLE_MODEL", "mine")
        assert resolve_model("auto").name == "mine"


def test_a_base_url_that_lists_nothing_asks_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(ConfigurationError, match="set TREADLE_MODEL_SMALL to the name of one"):
        choose_model("auto:small")


def test_a_password_in_a_base_url_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:s3cret@127.0.0.1:9/v1")
    with pytest.raises(ConfigurationError, match=r"OPENAI_BASE_URL='http://127\.0\.0\.1:9/v1'"):
        choose_model("auto")
    monkeypatch.setenv("TREADLE_MODEL", "mine")
    assert "s3cret" not in choose_model("auto").line


def test_the_first_local_server_that_lists_models_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ModelServer(ScriptedModel([], name="local-model")) as server,
    ):
        ports = f"{silent.getsockname()[1]},{port_of(server)}"
        monkeypatch.setenv("TREADLE_LOCAL_PORTS", ports)
        choice = choose_model("auto")
        silent.setblocking(False)
        asked, _ = silent.accept()  # it was asked, and never answered
        asked.close()
        assert (choice.model.name, choice.source) == ("local-model", f"the local server at {server.url}")
        assert choice.line == f"model 'local-model' of openai, from the local server at {server.url}"


def test_local_servers_are_not_looked_for_when_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer(ScriptedModel([])) as server:
        monkeypatch.setenv("TREADLE_LOCAL_PORTS", port_of(server))
        with pytest.raises(ConfigurationError, match="no model is configured"):
            choose_model("auto", probe=False)


def test_ports_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_LOCAL_PORTS", "eighty")
    with pytest.raises(ConfigurationError, match="is not a list of ports"):
        choose_model("auto")


def test_with_nothing_configured_the_ways_are_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_model("auto")
    for way in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TREADLE_MODEL", "11434", "openai:NAME", "rehearsal"):
        assert way in str(caught.value)


@pytest.mark.anyio
async def test_a_rehearsal_answers_over_real_http_at_its_price() -> None:
    price = Price(input_mtok=Decimal(1), output_mtok=Decimal(2))
    rehearsal = ScriptedModel(lambda _: "rehearsed", price=price, name="rehearsal-1")
    choice, again = choose_model("auto", rehearsal=rehearsal), choose_model("auto:small", rehearsal=rehearsal)
    assert choice.is_rehearsal
    assert choice.line == "rehearsal: no model is configured, so the scripted model 'rehearsal-1' answers"
    assert isinstance(choice.model, OpenAIModel)
    assert isinstance(again.model, OpenAIModel)
    assert choice.model.base_url == again.model.base_url
    assert choice.model.price == price
    assert (await choice.model.complete(ASKED)).message.text == "rehearsed"
    await choice.model.aclose()


def test_what_is_configured_goes_before_the_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert not choose_model("auto", rehearsal=ScriptedModel([])).is_rehearsal


def test_a_rehearsal_that_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is not a model; write rehearsal = "):
        choose_model("auto", rehearsal=["hello"])
