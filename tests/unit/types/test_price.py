"""Prices are data: read from the public file or set by hand, rounded so that no sum of them is ever too low."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from swarm.errors import BadInput
from swarm.types.price import Price, PriceStep, imported, names, per_million, renewed

DAY = date(2026, 11, 1)
FILE = {
    "sample_spec": {"input_cost_per_token": 0.0, "mode": "one of: chat, embedding"},
    "gpt-large": {
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-06,
        "max_output_tokens": 16384,
        "litellm_provider": "openai",
        "mode": "chat",
        "supports_vision": True,
    },
    "gemini/long": {
        "input_cost_per_token": "1.25e-06",
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "output_cost_per_token_above_200k_tokens": 1.5e-05,
        "max_output_tokens": "65536",
    },
    "gemini/cached": {
        "input_cost_per_token": 1e-06,
        "input_cost_per_token_above_200k_tokens": 2e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1e-07,
        "cache_read_input_token_cost_above_200k_tokens": 2e-07,
    },
    "thinker": {
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 6e-07,
        "output_cost_per_reasoning_token": 3e-06,
    },
    "by-request": {"input_cost_per_token": 0.0, "output_cost_per_token": 1e-06, "input_cost_per_request": 0.005},
    "beyond": {"input_cost_per_token": "1e999999", "output_cost_per_token": 1e-06},
    "embed-small": {"input_cost_per_token": 2e-08, "mode": "embedding"},
    "thirds": {"input_cost_per_token": 1e-06 / 3, "output_cost_per_token": 0, "mode": "chat"},
    "dall-e": {"mode": "image_generation", "input_cost_per_pixel": 1.9e-08},
    "whisper": {"mode": "audio_transcription", "input_cost_per_second": 0.0001},
    "per-second": {"mode": "chat", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001},
    "half": {"mode": "chat", "input_cost_per_token": 1e-06},
    "null": {"mode": "chat", "input_cost_per_token": None, "output_cost_per_token": 1e-06},
    "word": {"mode": "chat", "input_cost_per_token": "free", "output_cost_per_token": 1e-06},
    "below": {"mode": "chat", "input_cost_per_token": -1e-06, "output_cost_per_token": 1e-06},
    "huge": {"mode": "chat", "input_cost_per_token": 5, "output_cost_per_token": 1e-06},
    "two words": {"mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
    "text": "of no use",
}


def test_the_public_file_is_read_and_what_is_passed_over_is_told() -> None:
    found = imported(FILE, "prices.json", DAY)

    assert found.prices["gpt-large"] == Price(
        input=2_500_000, output=10_000_000, cached=1_250_000, max_output=16384, source="prices.json", as_of=DAY
    )
    assert found.prices["gemini/long"].steps == (PriceStep(above=200_000, input=2_500_000, output=15_000_000),)
    assert found.prices["embed-small"].input == 20_000
    assert found.prices["thirds"].input == 333_334
    assert set(found.prices) == {"gpt-large", "gemini/long", "gemini/cached", "thinker", "embed-small", "thirds"}
    assert found.skipped == {
        "not priced by the token": 2,
        "priced by the request": 1,
        "a price that is no number": 5,
        "the sample": 1,
        "mode image_generation": 1,
        "mode audio_transcription": 1,
        "a name that no model has": 1,
        "no object": 1,
    }


def test_thoughts_that_are_dearer_than_answers_are_the_price_of_both() -> None:
    assert imported(FILE, "prices.json", DAY).prices["thinker"].output == 3_000_000


def test_cached_tokens_of_long_prompts_have_their_own_rate_or_none() -> None:
    prices = imported(FILE, "prices.json", DAY).prices
    cached, long = prices["gemini/cached"], 300_000

    assert (cached.cost(1_000, 0, cached=1_000), cached.cost(long, 0, cached=long)) == (100, 60_000)
    without = cached.model_copy(update={"steps": (PriceStep(above=200_000, input=2_000_000, output=0),)})
    assert without.cost(long, 0, cached=long) == without.cost(long, 0)


@pytest.mark.parametrize("content", [[], "x", None, {}, {"sample_spec": {}}, {"a": 1}])
def test_what_is_no_such_file_is_refused(content: Any) -> None:
    with pytest.raises(BadInput, match="model_prices_and_context_window"):
        imported(content, "x.json", DAY)


def test_a_cost_is_rounded_up() -> None:
    price = Price(input=333_334, output=1, as_of=DAY)

    assert [price.cost(1, 0), price.cost(3, 0), price.cost(0, 1), price.cost(0, 0)] == [1, 2, 1, 0]


def test_cached_tokens_cost_less_where_the_price_says_so() -> None:
    price = Price(input=2_000_000, output=0, cached=500_000, as_of=DAY)

    assert price.cost(100, 0, cached=40) == 60 * 2 + 20
    assert price.cost(100, 0, cached=400) == 50
    assert Price(input=2_000_000, as_of=DAY).cost(100, 0, cached=40) == 200


def test_the_rates_of_long_prompts_are_no_matter_of_short_ones() -> None:
    price = Price(input=1_000_000, steps=(PriceStep(above=200_000, input=9_000_000, output=0),), as_of=DAY)

    assert (price.greatest(100, 0), price.greatest(200_001, 0)) == (100, 1_800_009)


def test_a_model_is_priced_by_its_whole_name_or_by_what_follows_its_endpoint() -> None:
    assert names("box/acme/small") == ("box/acme/small", "acme/small")
    assert names("small") == ("small",)


@pytest.mark.parametrize("given_", ["x", "-1", "nan", "inf", "1e9", "1e999999", ""])
def test_dollars_that_are_none_are_refused(given_: str) -> None:
    with pytest.raises(BadInput, match="per million tokens"):
        per_million("input", given_)


def test_a_price_set_anew_keeps_the_rest_and_no_long_prompt_is_cheaper_than_a_short_one() -> None:
    steps = PriceStep(above=1, input=2, output=30), PriceStep(above=2, input=9, output=40)
    before = Price(input=1, output=20, cached=1, steps=steps, max_output=5, source="file", as_of=DAY)

    after = renewed(before, {"input": 4, "output": 35, "source": "set", "as_of": DAY})

    assert after.steps == (PriceStep(above=1, input=4, output=35), PriceStep(above=2, input=9, output=40))
    assert (after.input, after.output, after.cached, after.max_output, after.source) == (4, 35, 1, 5, "set")
    assert renewed(None, {"input": 1, "output": 2, "as_of": DAY}) == Price(input=1, output=2, as_of=DAY)
