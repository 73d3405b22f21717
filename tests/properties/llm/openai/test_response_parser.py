"""Bodies and event streams, byte by byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from swarm.errors import BadOutput, ExpertError
from swarm.llm.openai.reasoning_splitter import answer_in
from swarm.llm.openai.response_parser import ServerError
from swarm.llm.openai.sse_parser import MAX_RESPONSE, SseParser
from swarm.testing.model_server import chunk
from tests.unit.llm.openai.test_response_parser import END, fed_until_full, read, stream


@given(
    st.lists(st.text(max_size=20), min_size=1, max_size=8),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_a_stream_reads_the_same_however_it_is_cut(texts: list[str], size: int, newline: str, ascii_only: bool) -> None:
    said = "".join(texts) + "."
    assume(answer_in(said) == said)  # thoughts are left out: see test_reasoning_splitter.py
    parts = [*map(chunk, texts), chunk("."), END]
    body = "".join(f"data: {json.dumps(part, ensure_ascii=ascii_only)}{newline}{newline}" for part in parts).encode()

    pieces, whole = read(body[start : start + size] for start in range(0, len(body), size))

    assert "".join(pieces) == whole.text == said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "message", "content", "tool_calls", "function", "arguments", "usage",
                         "error", "index", "finish_reason", "refusal", "code", "prompt_tokens"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(json_values, st.booleans(), st.booleans())
def test_no_json_raises_anything_but_a_typed_error(value: object, tool: bool, streamed: bool) -> None:
    for body in (
        json.dumps(value).encode(),
        stream(value),
        stream({"choices": [value]}),
        stream({"choices": [{"delta": value}]}),
    ):
        try:
            read([body], tool=tool, streamed=streamed)
        except (ExpertError, ServerError):
            continue


@pytest.mark.parametrize("part", [b"x" * 50, b"data: " + b"x" * 1000 + b"\n", b"data:\n" * 100_000])
def test_an_event_without_an_end_is_given_up_at_the_cap(part: bytes) -> None:
    with pytest.raises(BadOutput, match="an event of the answer exceeds 4,000,000"):
        fed_until_full(SseParser(), part, 10 * MAX_RESPONSE)
