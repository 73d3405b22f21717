"""The responses API in its own words: requests translated, answers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import ExpertError
from swarm.llm.openai.response_parser import ResponseParser, ServerError
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "response", "output", "content", "status", "delta", "object", "error", "usage"]),
            inner | st.sampled_from(["response", "response.completed", "response.output_text.delta", "message"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(data=JSON, streamed=st.booleans())
def test_whatever_comes_is_read_or_refused(data: Any, streamed: bool) -> None:
    reader = ResponseParser(streamed=streamed, translate=Responses())
    content = f"data: {json.dumps(data)}\n\n" if streamed else json.dumps(data)
    try:
        assert all(isinstance(piece, str) for piece in reader.feed(content.encode()))
        _ = [*reader.end()]
        _ = reader.completion("box/small", "")
    except (ExpertError, ServerError):
        pass


def test_a_request_says_what_the_chat_would_have_said() -> None:
    chat: Mapping[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_object", "schema": SCHEMA},
    }

    assert asked(chat)["text"] == {"format": {"type": "json_object"}}
