"""Recordings: played by matching requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import BadInput
from swarm.testing.model_server import Received, Reply, Stream
from swarm.testing.recordings import Recording

HELLO: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


def received(body: Any = HELLO, path: str = "/v1/chat/completions") -> Received:
    return Received(path, {}, body)


def lines(*pairs: dict[str, Any]) -> str:
    return "\n".join(json.dumps(pair) for pair in pairs)


# -- played ----------------------------------------------------------------------------------------------------


def test_a_line_answers_a_request_that_has_all_its_fields() -> None:
    recording = Recording.read(
        lines(
            {"request": {"model": "large"}, "answer": "large"},
            {"request": {"messages": HELLO["messages"]}, "answer": "hello to you"},
            {"request": {}, "path": "/v1/responses", "answer": "a response"},
        )
    )

    assert recording(received()) == "hello to you"
    assert recording(received(HELLO | {"stream": True, "model": "large"})) == "large"
    assert recording(received({"input": "hello"}, "/v1/responses")) == "a response"
    lost = recording(received({"model": "small", "messages": [{"role": "user", "content": "bye"}]}))
    assert isinstance(lost, Reply)
    assert (lost.status, lost.body["error"]["code"]) == (404, "not_recorded")


def test_the_same_request_is_answered_in_the_order_of_the_lines_and_by_the_last_for_ever() -> None:
    recording = Recording.read(lines(*({"request": HELLO, "answer": text} for text in ("one", "two", "three"))))

    assert [recording(received()) for _ in range(5)] == ["one", "two", "three", "three", "three"]


def test_what_was_recorded_whole_goes_back_as_it_was() -> None:
    failed = {"status": 429, "headers": {"retry-after": "2"}, "body": {"error": "slow down"}}
    streamed = {"stream": ["data: 1\n\n", "data: 2\n\n"], "cut": True}
    recording = Recording.read(
        lines({"request": {"a": 1}, "answer": failed}, {"request": {"b": 1}, "answer": streamed})
    )

    assert recording(received({"a": 1})) == Reply({"error": "slow down"}, 429, {"retry-after": "2"})
    assert recording(received({"b": 1})) == Stream(["data: 1\n\n", "data: 2\n\n"], cut=True)


def test_every_problem_of_a_recording_is_told_with_its_line() -> None:
    wrong: list[Any] = [
        3,
        {"request": {}},
        {"answer": "x"},
        {"request": {}, "answer": 1},
        {"request": {}, "anwser": "x"},
        {"request": {}, "answer": {"body": 1, "stream": []}},
        {"request": {}, "answer": {"stream": [1]}},
        {"request": {}, "answer": {"body": 1, "status": 99}},
        {"request": {}, "answer": {"body": 1, "headers": {"a": "b\r\nc"}}},
    ]
    with pytest.raises(BadInput) as caught:
        Recording.read("\n".join(["", "{", *map(json.dumps, wrong)]))

    assert caught.value.problem.split("; ") == [
        "line 2: no JSON (Expecting property name enclosed in double quotes at character 2)",
        "line 3: no JSON object",
        "line 4: answer: missing",
        "line 5: request: missing, or no JSON object",
        "line 6: answer: neither text nor a JSON object",
        "line 7: anwser: unknown field, did you mean 'answer'?",
        "line 8: answer: needs body or stream, and not both",
        "line 9: answer.stream: no list of texts, or answer.cut is neither true nor false",
        "line 10: answer.status: no number from 200 to 599",
        "line 11: answer.headers: no object of texts",
    ]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_recording_of_nothing_is_none(text: str) -> None:
    with pytest.raises(BadInput, match="no line with a request and its answer"):
        Recording.read(text)


def test_a_recording_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        Recording.load(tmp_path / "none.jsonl")
