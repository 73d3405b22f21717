"""Recordings: made by passing requests on to a server, and played by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from swarm.llm.openai.models import OpenAIModels
from swarm.testing.dialects import LLAMA_SERVER, OPENAI, TRANSFORMERS
from swarm.testing.model_server import ModelServer, Received, Reply, Script, Stream, chunk
from swarm.testing.recorder import Recorder
from swarm.testing.recordings import Recording

HELLO: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


def lines(*pairs: dict[str, Any]) -> str:
    return "\n".join(json.dumps(pair) for pair in pairs)


async def test_a_text_is_worded_by_the_dialect() -> None:
    recording = Recording.read(lines({"request": {}, "answer": '{"a": 1}'}))
    asked = HELLO | {"response_format": {"type": "json_object"}}
    async with ModelServer(TRANSFORMERS.speaks(recording)) as server, httpx2.AsyncClient() as http:
        answer = (await http.post(f"{server.url}/chat/completions", json=asked)).json()

    assert answer["choices"][0]["message"]["content"].startswith("Sure, here it is:")


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
