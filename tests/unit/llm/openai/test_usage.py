"""What a call used, under every server's names, and where none counted, about."""

from __future__ import annotations

from typing import Any

import pytest

from swarm.llm.base import Message
from swarm.llm.openai.usage import counted, estimated, prompt_tokens, text_tokens
from swarm.types.result import Usage


def used(sent: int, received: int, cached: int = 0, thoughts: int = 0) -> Usage:
    return Usage(calls=1, input_tokens=sent, output_tokens=received, cached_tokens=cached, reasoning_tokens=thoughts)


TOLD: dict[str, tuple[dict[str, Any], Usage]] = {
    "OpenAI": (
        {
            "prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 30, "accepted_prediction_tokens": 0},
        },
        used(100, 40, 64, 30),
    ),
    "OpenAI's responses": (
        {
            "input_tokens": 100, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 40,
            "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 140,
        },
        used(100, 40, 64, 30),
    ),
    "Anthropic-like": (
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 20},
        used(110, 5, 80),
    ),
    "LiteLLM before it": (
        {
            "prompt_tokens": 110, "completion_tokens": 5, "total_tokens": 115,
            "prompt_tokens_details": {"cached_tokens": 80}, "cache_read_input_tokens": 80,
            "cache_creation_input_tokens": 20,
        },
        used(110, 5, 80),
    ),
    "vLLM": ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None}, used(7, 3)),
    "DeepSeek": (
        {
            "prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109, "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36, "completion_tokens_details": {"reasoning_tokens": 4},
        },
        used(100, 9, 64, 4),
    ),
    "thoughts in the total alone": (
        {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 110},
        used(7, 103, 0, 100),
    ),
    "xAI": (
        {
            "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 110,
            "completion_tokens_details": {"reasoning_tokens": 100},
        },
        used(7, 103, 0, 100),
    ),
    "Together": ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "cached_tokens": 8}, used(9, 3, 8)),
    "more cached than sent": (
        {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 80}},
        used(9, 3, 9),
    ),
    "no numbers": (
        {"prompt_tokens": "many", "completion_tokens": True, "total_tokens": -1, "prompt_tokens_details": [3]},
        used(0, 0),
    ),
    "nothing": ({}, used(0, 0)),
}  # fmt: skip


@pytest.mark.parametrize(("told", "usage"), TOLD.values(), ids=TOLD)
def test_every_servers_count_is_read(told: dict[str, Any], usage: Usage) -> None:
    assert counted(told) == usage
    assert counted(told | {"cost": 0.1}) == usage


def test_what_is_lacking_is_estimated_and_marked() -> None:
    assert estimated(used(0, 0), sent=9, received=2) == used(9, 2) + Usage(estimated=1)
    assert estimated(used(7, 0), sent=9, received=2) == used(7, 2) + Usage(estimated=1)
    assert estimated(used(0, 3), sent=9, received=2) == used(9, 3) + Usage(estimated=1)
    assert estimated(used(7, 3, 1, 2), sent=9, received=2) == used(7, 3, 1, 2)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("Пожалуйста, проверьте состояние моего заказа.", 12),
        ("請檢查我的訂單狀態並告訴我何時送達。", 20),
        ("def add(a, b):\n    return a + b\n", 12),
    ],
)
def test_an_estimate_is_within_a_factor_of_two(text: str, about: int) -> None:
    assert about / 2 <= text_tokens(text) <= about * 2


def test_a_prompt_has_what_its_messages_have_and_what_stands_around_them() -> None:
    two = [Message("system", "Be brief."), Message("user", "Where is my parcel?")]

    assert prompt_tokens(two) == 3 + (3 + 3) + (5 + 3)
    assert prompt_tokens([]) == 3
