"""Vectors of texts, asked of a server over HTTP."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from swarm.errors import BadOutput, ExpertError, ModelUnavailable, WrongKey
from swarm.llm.openai.embeddings import AT_ONCE, OpenAIEmbedder
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import ModelServer, Reply, Script, hang
from swarm.testing.openai_payloads import embedded, embeddings, error, inputs, packed, vector
from swarm.types.result import Usage

TEXTS = ["one", "two", "three"]


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[tuple[ModelServer, OpenAIEmbedder]]:
    async with ModelServer(script) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        yield server, models.embedder("box/embedder")


async def failure(body: Any, status: int = 200, texts: list[str] = TEXTS) -> ExpertError:
    async with served(lambda request: Reply(body, status)) as (_, embedder):
        with pytest.raises(ExpertError) as caught:
            await embedder.embed(texts, timeout=40)
    assert str(caught.value).startswith("box/embedder: ")
    assert str(caught.value).count("box/embedder") == 1
    return caught.value


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "base64"])
async def test_each_text_has_its_vector_in_order_whatever_order_they_come_in(as_text: bool) -> None:
    body = embedded(TEXTS, as_text=as_text)
    body["data"].reverse()
    async with served(lambda request: Reply(body)) as (server, embedder):
        found = await embedder.embed(TEXTS)

    assert [list(each) for each in found.vectors] == [pytest.approx(vector(text), abs=1e-6) for text in TEXTS]
    assert (found.model, found.usage) == ("box/embedder", Usage(calls=1, input_tokens=7))
    assert server.requests[0].path == "/v1/embeddings"
    assert server.requests[0].body == {"model": "embedder", "input": TEXTS, "encoding_format": "float"}


async def test_many_texts_go_in_as_many_requests_as_they_need() -> None:
    texts = [str(number) for number in range(2 * AT_ONCE + 1)]
    async with served(lambda request: Reply(embedded(inputs(request.body)))) as (server, embedder):
        found = await embedder.embed(texts)

    assert [len(request.body["input"]) for request in server.requests] == [AT_ONCE, AT_ONCE, 1]
    assert [list(each) for each in found.vectors] == [pytest.approx(vector(text)) for text in texts]
    assert found.usage == Usage(calls=3, input_tokens=21)


async def test_no_texts_are_no_request() -> None:
    async with served(lambda request: "") as (server, embedder):
        assert (await embedder.embed([])).vectors == ()
    assert server.requests == []


async def test_an_answer_without_usage_is_estimated_and_marked() -> None:
    async with served(lambda request: Reply(embedded(TEXTS) | {"usage": None})) as (_, embedder):
        usage = (await embedder.embed(TEXTS)).usage

    assert (usage.calls, usage.estimated) == (1, 1)
    assert 0 < usage.input_tokens < 10


SENT = [[1.0, 2.0]] * 3
WRONG = {
    "one vector for all": (embeddings(SENT[:1]), "3 texts got 1 vectors"),
    "a vector for each token": (embeddings([[[1.0, 2.0], [3.0, 4.0]]] * 3), "--pooling mean"),
    "the same place twice": (
        {"data": [{"index": 0, "embedding": [1.0]}] * 3},
        "does not say which vector belongs to which text",
    ),
    "places that are none": (
        {"data": [{"index": place, "embedding": [1.0]} for place in ("0", "1", "2")]},
        "does not say which vector belongs to which text",
    ),
    "lengths that differ": (embeddings([[1.0], [1.0], [1.0, 2.0]]), "differ in length (1, 2)"),
    "no numbers": (embeddings([["a"], ["b"], ["c"]]), "not a number"),
    "truths": (embeddings([[True]] * 3), "not a number"),
    "nothing": (embeddings([[]] * 3), "is empty"),
    "no base64": ({"data": [{"embedding": "not base64!"}] * 3}, "not base64"),
    "half a number": ({"data": [{"embedding": "AAAA"}] * 3}, "not base64"),
    "too great": (embeddings([[10**400]] * 3), "not finite"),
    "not finite, as text": ({"data": [{"embedding": packed([math.nan])}] * 3}, "not finite"),
    "no list": ({"data": {}}, "not a list of embeddings"),
    "a list of nothing": ({"data": [1, 2, 3]}, "not a list of embeddings"),
    "a page": ("<html>", "not JSON"),
}


@pytest.mark.parametrize(("body", "said"), WRONG.values(), ids=WRONG)
async def test_what_is_no_vector_for_each_text_is_bad_output(body: Any, said: str) -> None:
    found = await failure(body)

    assert isinstance(found, BadOutput)
    assert said in str(found)


async def test_numbers_that_are_none_in_json_are_bad_output() -> None:
    for word in ("NaN", "Infinity"):
        assert isinstance(await failure(f'{{"data": [{{"embedding": [{word}]}}]}}', texts=["a"]), BadOutput)


async def test_errors_are_those_of_any_call() -> None:
    assert isinstance(await failure(error("no such key", code="invalid_api_key"), 401), WrongKey)
    assert isinstance(await failure(error("the server failed", "server_error"), 500), ModelUnavailable)
    assert isinstance(await failure(error("the server failed", "server_error")), ModelUnavailable)


async def test_a_silent_server_is_left_in_time() -> None:
    async with served(hang) as (_, embedder):
        with pytest.raises(ModelUnavailable, match=r"no answer within 0\.2 s"):
            await embedder.embed(TEXTS, timeout=0.2)
