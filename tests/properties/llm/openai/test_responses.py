"""The responses API in its own words: requests translated, answers read."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import ExpertError
from swarm.llm.openai.response_parser import ResponseParser, ServerError
from swarm.llm.openai.responses import Responses

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
