"""The scripted HTTP server: what its own promises are. What real servers do differently is in the dialects' tests."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from swarm.testing.dialects import AIMOCK
from swarm.testing.model_server import Answer, ModelServer, Received, Reply
from swarm.testing.openai_payloads import vector
from tests.integration.testing.http import HELLO, client

ASKED = {"model": "small", "input": "hello", "instructions": "Be kind."}


def events(text: str) -> list[Any]:
    """The data of each event."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


# -- paths -----------------------------------------------------------------------------------------------------


async def test_a_text_becomes_what_its_path_asks_for() -> None:
    async with ModelServer(lambda request: f"{request.system} {request.last}") as server, client(server) as http:
        chat = (await http.post("/chat/completions", json=HELLO)).json()
        response = (await http.post("/responses", json=ASKED)).json()
        models = (await http.get("/models")).json()

    assert chat["choices"][0]["message"]["content"] == "Be kind. hello"
    assert response["output"][0]["content"][0]["text"] == "Be kind. hello"
    assert (response["status"], response["usage"]["total_tokens"]) == ("completed", 17)
    assert [model["id"] for model in models["data"]] == ["served"]
    assert [(request.method, request.route) for request in server.requests] == [
        ("POST", "chat"),
        ("POST", "responses"),
        ("GET", "models"),
    ]


async def test_a_streamed_chat_ends_with_done_and_with_usage_if_asked() -> None:
    async with ModelServer(lambda request: "Good day, and welcome") as server, client(server) as http:
        plain = await http.post("/chat/completions", json=HELLO | {"stream": True})
        asked = HELLO | {"stream": True, "stream_options": {"include_usage": True}}
        counted = await http.post("/chat/completions", json=asked)

    *said, finish, done = events(plain.text)
    assert "".join(event["choices"][0]["delta"]["content"] for event in said) == "Good day, and welcome"
    assert (finish["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")
    assert events(counted.text)[-2]["usage"]["total_tokens"] == 13 + 6
    assert plain.headers["content-type"].startswith("text/event-stream")


async def test_a_streamed_response_ends_with_all_of_itself() -> None:
    async with ModelServer(lambda request: "Good day, and welcome") as server, client(server) as http:
        streamed = await http.post("/responses", json=ASKED | {"stream": True})

    told = events(streamed.text)
    deltas = [event["delta"] for event in told if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "Good day, and welcome"
    assert (told[0]["type"], told[-1]["type"]) == ("response.created", "response.completed")
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "Good day, and welcome"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert "[DONE]" not in streamed.text


async def test_embeddings_are_a_vector_for_each_text_as_numbers_or_as_base64() -> None:
    async with ModelServer(lambda request: "") as server, client(server) as http:
        numbers = (await http.post("/embeddings", json={"model": "e", "input": ["one", "two", "one"]})).json()
        packed = (
            await http.post("/embeddings", json={"model": "e", "input": "one", "encoding_format": "base64"})
        ).json()

    first, second, again = (item["embedding"] for item in numbers["data"])
    assert first == again == vector("one") != second
    assert sum(value * value for value in first) == pytest.approx(1.0)
    unpacked = struct.unpack("<16f", base64.b64decode(packed["data"][0]["embedding"]))
    assert unpacked == pytest.approx(first)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/elsewhere", b"", 404),
        ("GET", "/chat/completions", b"", 404),
        ("POST", "/models", b"{}", 404),
        ("POST", "/chat/completions", b"no json", 400),
        ("POST", "/chat/completions", b"[1]", 400),
        ("POST", "/embeddings", b"\xff\xfe", 400),
        ("POST", "/responses", b"", 400),
    ],
)
async def test_what_is_no_request_to_a_model_is_an_error(method: str, path: str, content: bytes, status: int) -> None:
    async with ModelServer(lambda request: f"heard {request.last}") as server, client(server) as http:
        answer = await http.request(method, path, content=content)
        good = await http.post("/chat/completions", json=HELLO)

    assert (answer.status_code, good.status_code) == (status, 200)
    assert answer.json()["error"]["message"]
    assert server.accepted == 1, "the connection is good for another"


async def test_a_script_sees_any_path_and_may_answer_it_as_it_likes() -> None:
    async with ModelServer(lambda request: Reply({"at": request.path})) as server, client(server) as http:
        assert (await http.get("/journal?all=yes")).json() == {"at": "/v1/journal?all=yes"}


async def test_a_script_that_raises_is_an_error_that_says_so() -> None:
    def script(request: Received) -> Answer:
        raise ValueError("not today")

    async with ModelServer(script) as server, client(server) as http:
        answer = await http.post("/chat/completions", json=HELLO)

    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "the script raised ValueError: not today")


@pytest.mark.parametrize("field", ["stream_options", "max_tokens", "response_format", "tools"])
async def test_a_field_of_another_kind_is_a_mistake_of_the_request_and_not_of_the_script(field: str) -> None:
    asking = HELLO | {"stream": True, field: "many"}
    for script in (lambda request: "hello", AIMOCK.speaks(lambda request: "hello")):
        async with ModelServer(script) as server, client(server) as http:
            answer = await http.post("/chat/completions", json=asking)

        assert answer.status_code == 400
        assert f"'{field}'" in answer.json()["error"]["message"]
