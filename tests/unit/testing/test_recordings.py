"""Recordings: played by matching requests, and made by passing requests on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from swarm.errors import BadInput
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.dialects import LLAMA_SERVER, OPENAI, TRANSFORMERS
from swarm.testing.model_server import ModelServer, Received, Reply, Script, Stream, chunk
from swarm.testing.recorder import Recorder
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


async def test_a_text_is_worded_by_the_dialect() -> None:
    recording = Recording.read(lines({"request": {}, "answer": '{"a": 1}'}))
    asked = HELLO | {"response_format": {"type": "json_object"}}
    async with ModelServer(TRANSFORMERS.speaks(recording)) as server, httpx2.AsyncClient() as http:
        answer = (await http.post(f"{server.url}/chat/completions", json=asked)).json()

    assert answer["choices"][0]["message"]["content"].startswith("Sure, here it is:")


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


# -- made ------------------------------------------------------------------------------------------------------


async def recorded(script: Script, *bodies: dict[str, Any], path: str = "chat/completions") -> tuple[list[str], str]:
    """What a client hears through a recorder in front of `script`, and what was written down."""
    written: list[str] = []
    async with through(script, written) as (_, url), httpx2.AsyncClient() as http:
        heard = [await _heard(http, f"{url}/{path}", body) for body in bodies]
    return heard, "".join(written)


@asynccontextmanager
async def through(script: Script, written: list[str]) -> AsyncIterator[tuple[ModelServer, str]]:
    """A server that answers by `script`, and the URL of a recorder in front of it."""
    async with ModelServer(script) as real:
        environ = {"SWARM_ENDPOINT_REAL_URL": real.url, "SWARM_ENDPOINT_REAL_KEY": "sk-1234567890"}
        async with OpenAIModels(environ) as models:
            recorder = Recorder(models.connection(models.endpoints.get("real")), written.append)
            async with ModelServer(recorder) as server:
                yield real, server.url


async def _heard(http: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> str:
    said = ""
    try:
        async with http.stream("POST", url, json=body) as answer:
            said = f"{answer.status_code} "
            async for part in answer.aiter_text():
                said += part
    except httpx2.RemoteProtocolError:
        said += "CUT"
    return said


@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings"])
async def test_what_is_recorded_plays_as_it_was_heard(path: str) -> None:
    body = HELLO | {"input": "hello"}
    asked = [body, body | {"stream": True}] if path != "embeddings" else [body]
    heard, written = await recorded(LLAMA_SERVER.speaks(lambda request: "žluť and more"), *asked, path=path)
    async with ModelServer(Recording.read(written)) as server, httpx2.AsyncClient() as http:
        played = [await _heard(http, f"{server.url}/{path}", each) for each in asked]

    assert all(text.startswith("200 ") for text in heard)
    assert [json.loads(text[4:]) if text[4] == "{" else text for text in played] == [
        json.loads(text[4:]) if text[4] == "{" else text for text in heard
    ]
    assert len(written.splitlines()) == len(asked)
    assert "sk-1234567890" not in written


async def test_errors_and_broken_streams_are_recorded_as_they_came() -> None:
    def script(request: Received) -> Reply | Stream:
        if request.streamed:
            return Stream([chunk("half")], cut=True)
        return Reply({"error": {"message": "slow down"}}, 429, {"retry-after": "3", "x-other": "no"})

    asked = [HELLO, HELLO | {"stream": True}]
    heard, written = await recorded(script, *asked)
    first, second = map(json.loads, written.splitlines())

    assert heard[0].startswith("429 ")
    assert heard[1].endswith("CUT")
    assert (first["answer"]["status"], first["answer"]["headers"]) == (429, {"retry-after": "3"})
    assert json.loads(first["answer"]["body"]) == {"error": {"message": "slow down"}}
    assert second["answer"]["cut"] is True
    async with ModelServer(Recording.read(written)) as server, httpx2.AsyncClient() as http:
        played = [await _heard(http, f"{server.url}/chat/completions", each) for each in asked]
    assert played == heard


async def test_a_server_that_repeats_a_key_is_recorded_without_it() -> None:
    def script(request: Received) -> Reply | Stream:
        said = {"error": {"message": f"wrong: {request.headers['authorization']}"}}
        return Stream([said]) if request.streamed else Reply(said, 401)

    heard, written = await recorded(script, HELLO, HELLO | {"stream": True}, path="chat/completions?key=sk-1234567890")

    assert heard[0] == '401 {"error": {"message": "wrong: Bearer ***"}}'
    assert written.count("Bearer ***") == 2
    assert "sk-1234567890" not in written


async def test_lists_of_models_are_passed_on_and_a_recording_names_its_own() -> None:
    written: list[str] = []
    script = OPENAI.speaks(lambda request: "hello", models=("small", "large"))
    async with through(script, written) as (_, url), httpx2.AsyncClient() as http:
        listed = (await http.get(f"{url}/models")).json()
        for model in ("small", "large", "small"):
            await http.post(f"{url}/chat/completions", json=HELLO | {"model": model})

    assert [model["id"] for model in listed["data"]] == ["small", "large"]
    assert Recording.read("".join(written)).models == ("small", "large")


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_takes_the_call_at_the_endpoint_along(streamed: bool) -> None:
    async def slowly() -> AsyncIterator[Any]:
        yield chunk("half")
        await asyncio.Event().wait()

    written: list[str] = []
    async with through(lambda request: Stream(slowly()), written) as (real, url), httpx2.AsyncClient() as http:
        asking = asyncio.create_task(_heard(http, f"{url}/chat/completions", HELLO | {"stream": streamed}))
        async with asyncio.timeout(40):
            while not real.open:  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            asking.cancel()
            await real.left.wait()

    assert written == []


async def test_what_never_reached_the_endpoint_is_not_recorded() -> None:
    written: list[str] = []
    async with OpenAIModels({"SWARM_ENDPOINT_REAL_URL": "http://127.0.0.1:9/v1"}) as models:
        recorder = Recorder(models.connection(models.endpoints.get("real")), written.append)
        async with ModelServer(recorder) as server, httpx2.AsyncClient() as http:
            nobody = await http.post(f"{server.url}/chat/completions", json=HELLO)
            streamed = await http.post(f"{server.url}/chat/completions", json=HELLO | {"stream": True})
            nothing = await http.post(f"{server.url}/chat/completions", json={"messages": []})
            elsewhere = await http.get(f"{server.url}/files")

    assert [answer.status_code for answer in (nobody, streamed, nothing, elsewhere)] == [502, 502, 400, 400]
    assert "cannot reach 127.0.0.1:9" in nobody.json()["error"]["message"]
    assert written == []
