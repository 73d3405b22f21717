# ruff: noqa: E501
"""Thoughts in fields of their own: every shape in which servers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swarm.errors import BadOutput
from swarm.llm.openai.responses import Responses
from swarm.testing.model_server import chunk, completion
from swarm.testing.openai_payloads import response, response_events
from tests.unit.llm.openai.reading import delta, read, stream

SECRET = "They seem angry; my notes are private."
ANSWER = "Dear customer, you get it back."
MISTRAL = [
    {"type": "thinking", "thinking": [{"type": "text", "text": SECRET}], "signature": "sig"},
    {"type": "text", "text": ANSWER},
]
FIELDS: dict[str, list[dict[str, Any]]] = {
    "reasoning_content, DeepSeek and vLLM": [delta(reasoning_content=SECRET), delta(content=ANSWER)],
    "reasoning, OpenRouter and Ollama": [delta(reasoning=SECRET, content=""), delta(content=ANSWER)],
    "both names": [delta(reasoning=SECRET, reasoning_content=SECRET), delta(content=ANSWER)],
    "reasoning_details": [
        delta(reasoning_details=[{"type": "reasoning.text", "text": SECRET}, {"type": "reasoning.encrypted", "data": "x"}]),
        delta(content=ANSWER),
    ],
    "thinking_blocks, LiteLLM": [
        delta(thinking_blocks=[{"type": "thinking", "thinking": SECRET, "signature": "s"}]),
        delta(content=ANSWER),
    ],
    "parts, Mistral": [delta(content=MISTRAL)],
    "parts, one by one": [delta(content=[part]) for part in MISTRAL],
    "parts, reasoning": [delta(content=[{"type": "reasoning", "text": SECRET}, {"type": "output_text", "text": ANSWER}])],
    "parts, reasoning with a summary": [
        delta(content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}]}, ANSWER])
    ],
    "parts, redacted": [delta(content=[{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": ANSWER}])],
    "a part alone": [delta(content={"type": "text", "text": {"value": ANSWER}})],
    "channels, gpt-oss": [delta(channel="analysis", content=SECRET), delta(channel="final", content=ANSWER)],
    "a mark, Gemini": [
        delta(content=SECRET, extra_content={"google": {"thought": True}}), delta(content=ANSWER),
    ],
    "tags behind a field": [delta(reasoning_content=SECRET), delta(content=f"<think>{SECRET}</think>{ANSWER}")],
}  # fmt: skip


@pytest.mark.parametrize("events", FIELDS.values(), ids=FIELDS)
def test_a_stream_tells_thoughts_by_their_fields(events: list[dict[str, Any]]) -> None:
    pieces, whole = read(stream([*events, chunk(finish_reason="stop")]), streamed=True)

    assert pieces == whole.text == ANSWER
    assert SECRET not in whole.text
    assert whole.thoughts in ("", SECRET, SECRET + SECRET)


@pytest.mark.parametrize("events", FIELDS.values(), ids=FIELDS)
def test_a_whole_answer_tells_thoughts_by_their_fields(events: list[dict[str, Any]]) -> None:
    for event in events:
        message = event["choices"][0]["delta"]
        body = completion("") | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        if ANSWER in str(message):
            assert read(json.dumps(body).encode(), streamed=False)[1].text == ANSWER
        else:
            with pytest.raises(BadOutput, match="the answer is empty: the model wrote only reasoning"):
                read(json.dumps(body).encode(), streamed=False)


REASONED = [
    {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": SECRET}],
        "content": [{"type": "text", "text": SECRET}],
    },
    {"type": "message", "content": [{"type": "output_text", "text": ANSWER}]},
]


def test_a_response_tells_thoughts_by_its_items() -> None:
    body = json.dumps(response("") | {"output": REASONED}).encode()
    assert read(body, streamed=False, translate=Responses())[1].text == ANSWER

    for kind in ("reasoning_text", "reasoning_summary_text", "reasoning"):
        thought = (
            f"event: response.{kind}.delta\ndata: {json.dumps({'type': f'response.{kind}.delta', 'delta': SECRET})}\n\n"
        )
        found = read((thought + "".join(response_events(ANSWER))).encode(), streamed=True, translate=Responses())
        assert (found[0], found[1].text, found[1].thoughts) == (ANSWER, ANSWER, SECRET)
