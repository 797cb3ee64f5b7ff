"""Prices as genai-prices lists them."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import genai_prices
import pytest

from treadle.budget import Price, Usage
from treadle.providers.prices import listed_price


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-mini", "gpt-6-sol"])
@pytest.mark.parametrize("tokens", [10_000, 272_000, 272_001, 900_000])
def test_costs_are_the_listing_s_own(model: str, tokens: int) -> None:
    price = listed_price("openai", model)
    assert price is not None
    usage = Usage(input_tokens=tokens, output_tokens=500, cache_read_tokens=tokens // 2)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=tokens, output_tokens=500, cache_read_tokens=tokens // 2),
        model,
        provider_id="openai",
    )
    assert price.cost(usage) == theirs.total_price
    assert price.worst(tokens, 500) >= price.cost(usage)


def test_a_price_says_where_it_comes_from() -> None:
    price = listed_price("openai", "gpt-4o")
    assert price is not None
    assert (price.basis, price.version) == ("genai-prices", "0.2.3") or price.version
    assert isinstance(price.input_mtok, Decimal)


def test_a_provider_is_known_by_its_address_too() -> None:
    assert listed_price("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile") is not None
    assert listed_price("https://elsewhere.example/v1", "gpt-4o") is None


@pytest.mark.parametrize("model", ["no-such-model", "text-embedding-3-small"])
def test_what_nobody_knows_has_no_price(model: str) -> None:
    assert listed_price("openai", model) is None


def test_a_price_is_looked_up_once() -> None:
    assert listed_price("openai", "gpt-4o") is listed_price("openai", "gpt-4o")


def test_a_long_call_is_dearer_as_a_whole() -> None:
    dear = Price(input_mtok=Decimal(2), output_mtok=Decimal(2))
    price = Price(input_mtok=Decimal(1), output_mtok=Decimal(1), tiers=((100, dear),))
    assert price.cost(Usage(input_tokens=100)) * 1_000_000 == 100
    assert price.cost(Usage(input_tokens=101, output_tokens=9)) * 1_000_000 == 220
    assert price.worst(101, 9) * 1_000_000 == 220


def test_nothing_dear_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, treadle.models, treadle.compose\n"
        "from treadle.models import AnthropicModel, OpenAIModel, OpenAIResponsesModel\n"
        "for kind in (AnthropicModel, OpenAIModel, OpenAIResponsesModel):\n"
        "    kind('m', base_url='http://127.0.0.1:1/v1').price\n"
        "dear = ('openai', 'anthropic', 'httpx2', 'genai_prices', 'apsw')\n"
        "print([name for name in dear if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-5-5"])
@pytest.mark.parametrize("tokens", [10_000, 200_001, 900_000])
def test_costs_with_a_cache_are_the_listing_s_own(model: str, tokens: int) -> None:
    price = listed_price("anthropic", model)
    assert price is not None
    counts = {"output_tokens": 500, "cache_read_tokens": tokens // 2, "cache_write_tokens": tokens // 4}
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=tokens, **counts), model, provider_id="anthropic"
    )
    usage = Usage(input_tokens=tokens, **counts)
    assert price.cost(usage) == theirs.total_price
    assert price.worst(tokens, 500) >= price.cost(usage)
