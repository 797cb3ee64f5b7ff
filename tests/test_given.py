"""What the constructors of the doors are given: what is of another kind is told, with what to write."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from treadle import Ask, Budget, Prompt, Retry, Wait
from treadle.errors import ConfigurationError
from treadle.models import (
    AnthropicModel,
    Breaker,
    Compact,
    Limit,
    LocalModel,
    OpenAIModel,
    OpenAIResponsesModel,
    Price,
    RetryBudget,
    document,
    hedge,
    image,
)
from treadle.testing import (
    JumpingClock,
    ModelServer,
    ScriptedModel,
    messages_check,
    openapi_check,
    server_process,
)
from treadle.tools import mcp_tools

DOLLAR = Decimal(1)
gpt: Any = partial(OpenAIModel, "gpt-6-luna", api_key="k")
late: Any = partial(hedge, "openai:gpt-6-luna")
shorter: Any = partial(Compact, limit=10)
priced: Any = partial(Price, output_mtok=DOLLAR)
served: Any = partial(ModelServer, ScriptedModel([]))


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (Budget, {"usd": "abc"}, "Budget(usd='abc'): that is not an amount of money; write for example"),
        (Budget, {"usd": [1]}, "Budget(usd=[1]): that is not an amount of money"),
        (Budget, {"usd": True}, "Budget(usd=True): that is not an amount"),
        (Budget, {"usd": 0.2}, "write money as text or Decimal, as in usd='0.2'"),
        (Budget, {"tokens": "3"}, "not '3'; write for example Budget(tokens=20_000)"),
        (Budget, {"tokens": 3.5}, "is a whole number of 0 or more, not 3.5"),
        (Budget, {"calls": True}, "is a whole number of 0 or more, not True"),
        (Budget, {"seconds": "soon"}, "Budget(seconds=...): 'soon' is not a duration; write seconds, or"),
        (Budget, {"soft": "x"}, "Budget(soft=...) is a share between 0 and 1, not 'x'"),
        (Budget, {"on_soft": 3}, "is the name of a model, not 3; write for example"),
        (Retry, {"attempts": "3"}, "counts the first one too, so at least 1, not '3'; write for example"),
        (Retry, {"attempts": 2.5}, "not 2.5"),
        (Retry, {"on": 3}, "Retry(on=...) is an error class or a list of them, not 3"),
        (Retry, {"on": "TimeoutError"}, "not 'TimeoutError'; write on=TimeoutError"),
        (Retry, {"on": [TimeoutError()]}, "write on=TimeoutError"),
        (Retry, {"on": ["Busy"]}, "its name with that of its module, as in on=['shop.errors.Busy']"),
        (Retry, {"wait": []}, "Retry(wait=...): [] is not a duration"),
        (Wait, {"kind": "expo"}, "is one of 'exponential', 'fixed', 'incrementing', not 'expo'; did you"),
        (Wait, {"initial": "1s"}, "Wait(initial=...) is a number of 0 or more, not '1s'"),
        (Wait, {"jitter": -1}, "Wait(jitter=...) is a number of 0 or more, not -1"),
        (RetryBudget, {"share": "10%"}, "not '10%'; write for example RetryBudget(share=0.1)"),
        (RetryBudget, {"least": 1.5}, "RetryBudget(least=...) is a whole number of 0 or more, not 1.5"),
        (Limit, {"requests_per_minute": "60"}, "not '60'; write for example Limit(requests_per_minute=500)"),
        (Limit, {"breaker": 3}, "Limit(breaker=...) is Breaker(...), or None for never, not 3"),
        (Limit, {"adaptive": "no"}, "Limit(adaptive=...) is True or False, not 'no'"),
        (Breaker, {"pause": []}, "Breaker(pause=...): [] is not a duration"),
        (Compact, {"limit": "3"}, "not '3'; write for example Compact(limit=128_000)"),
        (shorter, {"share": "x"}, "Compact(share=...) is a share between 0 and 1, not 'x'"),
        (shorter, {"summary": 3}, "Compact(summary=...): 3 is no model; write 'openai:NAME'"),
        (priced, {"input_mtok": 0.25}, "not 0.25; write for example Price(input_mtok=Decimal('0.25'))"),
        (priced, {"input_mtok": -DOLLAR}, "a Decimal of 0 or more, not Decimal('-1')"),
        (late, {"after": "soon"}, "hedge(after=...): 'soon' is not a duration"),
        (partial(hedge, after="2s"), {"model": 3}, "3 is no model; write 'openai:NAME'"),
        (OpenAIModel, {"name": 3}, "OpenAIModel(name=...) is text, not 3; write for example"),
        (OpenAIResponsesModel, {"name": ""}, "OpenAIResponsesModel(name=...) is text, not ''"),
        (gpt, {"price": "0.1"}, "OpenAIModel(price=...) is a Price of treadle.models, not '0.1'"),
        (gpt, {"timeout": []}, "OpenAIModel(timeout=...): [] is not a duration"),
        (gpt, {"options": 3}, "OpenAIModel(options=...) is a dict of further fields by name, not 3"),
        (gpt, {"limit_as": "max_token"}, "not 'max_token'; did you mean 'max_tokens'?"),
        (gpt, {"base_url": 3}, "base_url=3 is no text; write for example"),
        (partial(OpenAIModel, "x"), {"api_key": 3}, "api_key= is text, not a value of type int"),
        (partial(AnthropicModel, "x"), {"cache": "yes"}, "AnthropicModel(cache=...) is True or False, not"),
        (LocalModel, {"path": 3}, "LocalModel(path=...) is the path of a GGUF file, not 3"),
        (partial(LocalModel, "x"), {"threads": "4"}, "LocalModel(threads=...) is a whole number of 1 or"),
        (partial(LocalModel, "x"), {"timeout": "soon"}, "LocalModel(timeout=...): 'soon' is not a duration"),
        (partial(LocalModel, "x"), {"options": 3}, "LocalModel(options=...) is a dict of further fields"),
        (ScriptedModel, {"answers": 3}, "wants a list of answers, or a plain function of the request, not 3"),
        (partial(ScriptedModel, []), {"price": 3}, "ScriptedModel(price=...) is a Price of treadle.models,"),
        (JumpingClock, {"start": "now"}, "JumpingClock(start=...) is a number of 0 or more, not 'now'"),
        (served, {"faults": [3]}, "is a dict of replies by number of the request, or a function of it, not"),
        (ModelServer, {"model": 3}, "ModelServer(model=...) is a model or a function of the request, not 3"),
        (openapi_check, {"document": "a.json"}, "'a.json' is no pathlib.Path; write Path('a.json')"),
        (messages_check, {"document": 3}, "3 is no pathlib.Path"),
        (Prompt, {"text": 3}, "Prompt(text=...) is text, not 3; write for example Prompt(text=f'...')"),
        (Ask, {"prompt": 3}, "Ask(prompt=...) is text, not 3"),
        (image, {"source": 3}, "3 cannot be attached; pass bytes, a pathlib.Path, or the text of a URL"),
        (document, {"source": None}, "None cannot be attached"),
        (mcp_tools, {"server": 3}, "mcp_tools(3) is neither a URL nor a command"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused_with_what_to_write(
    make: Any, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        make(**given)


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (Budget, {"udd": "1"}, "Budget has no option 'udd'; did you mean 'usd'?; it takes usd, tokens,"),
        (Retry, {"atempts": 3}, "did you mean 'attempts'?"),
        (Wait, {"maxmum": 3}, "did you mean 'maximum'?"),
        (RetryBudget, {"shares": 3}, "did you mean 'share'?"),
        (Limit, {"requests_per_minut": 3}, "did you mean 'requests_per_minute'?"),
        (Breaker, {"failure": 3}, "did you mean 'failures'?"),
        (Compact, {"limt": 3}, "did you mean 'limit'?"),
        (Price, {"input_mtk": DOLLAR}, "did you mean 'input_mtok'?"),
        (late, {"afer": "2s"}, "did you mean 'after'?"),
        (gpt, {"time_out": 3}, "did you mean 'timeout'?"),
        (LocalModel, {"path": "x", "thread": 3}, "did you mean 'threads'?"),
        (ScriptedModel, {"answer": []}, "did you mean 'answers'?"),
        (served, {"fault": {}}, "did you mean 'faults'?"),
        (late, {}, "hedge: missing a required argument: 'after'; it takes model, after"),
        (Compact, {}, "Compact: missing a required argument: 'limit'; it takes limit, share"),
        (server_process, {"file": Path("x")}, "it takes"),
    ],
)
def test_an_unknown_or_missing_option_is_told_with_the_nearest(
    make: Any, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        make(**given)


def test_options_are_given_by_name() -> None:
    make: Any = Budget
    with pytest.raises(ConfigurationError, match=r"takes its options by name; write Budget\(usd=\.\.\.\)"):
        make("1")


def test_an_error_of_the_users_own_class_is_not_taken_for_a_wrong_call() -> None:
    class Mine(OpenAIModel):
        def __init__(self, name: str) -> None:
            super().__init__(name, api_key="k")
            raise TypeError("mine")

    with pytest.raises(TypeError, match="^mine$"):
        Mine("gpt-6-luna")
