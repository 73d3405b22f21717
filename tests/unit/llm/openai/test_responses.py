"""The responses API in its own words: requests translated, answers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm.llm.openai.response_parser import ResponseParser
from swarm.llm.openai.responses import Responses, asked
from swarm.testing.openai_payloads import event, response_events

SCHEMA = {
    "type": "object",
    "properties": {"steps": {"type": "string"}},
    "required": ["steps"],
    "additionalProperties": False,
}


def test_thoughts_are_counted_and_not_said() -> None:
    reader = ResponseParser(streamed=True, translate=Responses())
    parts = [
        event("response.reasoning_text.delta", {"delta": "hm, " * 20}),
        event("response.reasoning_summary_text.delta", {"delta": "well"}),
        *response_events("yes"),
    ]

    assert "".join(text for part in parts for text in reader.feed(part.encode())) == "yes"
    assert reader.written > 5


def test_a_limit_goes_under_its_own_name_and_stream_options_go() -> None:
    said = asked({"model": "m", "messages": [], "max_completion_tokens": 9, "stream": True, "stream_options": {}})

    assert said == {"model": "m", "input": [], "store": False, "max_output_tokens": 9, "stream": True}


def test_a_request_says_what_the_chat_would_have_said() -> None:
    chat: Mapping[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_object", "schema": SCHEMA},
    }

    assert asked(chat)["text"] == {"format": {"type": "json_object"}}
