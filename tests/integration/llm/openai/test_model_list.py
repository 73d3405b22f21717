"""The models that a server offers, asked over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import BadOutput, ExpertError, ModelRefused, ModelUnavailable, WrongKey
from swarm.llm.base import ChatRequest, Message, complete
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModels, Reservation
from swarm.llm.openai.model_list import ListedModel
from swarm.llm.openai.models import OpenAIModels
from swarm.llm.openai.sse_parser import MAX_RESPONSE
from swarm.testing.model_server import ModelServer, Reply, Script, hang
from swarm.testing.openai_payloads import listing
from swarm.types.result import Usage

HELLO = [Message("user", "hello")]


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[tuple[ModelServer, OpenAIModels]]:
    async with ModelServer(script) as server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        yield server, models


SPELT = {
    "OpenAI": (
        {"data": [{"id": "gpt", "object": "model", "created": 1700000000, "owned_by": "openai"}]},
        ListedModel("gpt", "openai", 1700000000),
    ),
    "Azure": (
        {"data": [{"id": "gpt", "created_at": 1, "deprecation": {"inference": 1798761600}}]},
        ListedModel("gpt", retires=date(2027, 1, 1)),
    ),
    "vLLM": ({"data": [{"id": "q", "max_model_len": 32768}]}, ListedModel("q", context=32768)),
    "llama-server": (
        {"models": [{"name": "q"}], "data": [{"id": "q", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}]},
        ListedModel("q", "llamacpp", context=4096),
    ),
    "OpenRouter": (
        {"data": [{"id": "a/b", "context_length": 200000, "expiration_date": "2027-02-03"}]},
        ListedModel("a/b", retires=date(2027, 2, 3), context=200000),
    ),
    "Mistral": (
        {"data": [{"id": "m", "max_context_length": 9, "deprecation": "2027-02-03T00:00:00Z"}]},
        ListedModel("m", retires=date(2027, 2, 3), context=9),
    ),
    "LiteLLM": (
        {"data": [{"id": "m", "model_info": {"deprecation_date": "2027-02-03"}}]},
        ListedModel("m", retires=date(2027, 2, 3)),
    ),
    "Together": ([{"id": "t/m", "context_length": 8}], ListedModel("t/m", context=8)),
    "values that are none": (
        {"data": [{"id": "m", "created": "x", "owned_by": 3, "deprecation": "soon", "max_model_len": -1}]},
        ListedModel("m"),
    ),
}


@pytest.mark.parametrize(("body", "model"), SPELT.values(), ids=SPELT)
async def test_a_list_is_read_as_each_server_spells_it(body: Any, model: ListedModel) -> None:
    async with served(lambda request: Reply(body)) as (server, models):
        assert await models.get("box").connection.list_models() == (model,)
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1/models")


@pytest.mark.parametrize("reply", [Reply({"data": []}), Reply({}, 404), Reply("", 405), Reply({"detail": "no"}, 501)])
async def test_a_server_that_lists_none_is_no_error(reply: Reply) -> None:
    async with served(lambda request: reply) as (_, models):
        assert await models.get("box").connection.list_models() == ()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply("<html>"), BadOutput),
        (Reply({"data": "gpt"}), BadOutput),
        (Reply("[" * 100_000), BadOutput),
        (Reply(" " * (MAX_RESPONSE + 1)), BadOutput),
        (Reply({"error": {"message": "who are you?"}}, 401), WrongKey),
        (Reply("", 503), ModelUnavailable),
        (None, ModelUnavailable),
    ],
)
async def test_what_is_no_list_is_a_typed_error(reply: Reply | None, kind: type[ExpertError]) -> None:
    async with served(lambda request: reply) as (_, models):
        with pytest.raises(kind, match=r"^box: "):
            await models.get("box").connection.list_models(timeout=40)


async def test_a_silent_server_is_left_in_time() -> None:
    async with served(hang) as (_, models):
        await models.warm()
        with pytest.raises(ModelUnavailable, match=r"no answer within 0\.2 s"):
            await models.get("box").connection.list_models(timeout=0.2)


# -- an endpoint alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (lambda request: Reply(listing(["small", "large"])), "it offers small, large"),
        (lambda request: Reply(listing([])), "its server lists none"),
        (lambda request: Reply("no", 404), "its server lists none"),
        (lambda request: Reply("no", 503), "its server does not say which it offers (box: HTTP 503"),
        (hang, "its server does not say which it offers (box: no answer within"),
    ],
)
async def test_without_a_default_model_the_error_lists_what_the_server_offers(script: Script, said: str) -> None:
    async with served(script) as (server, models):
        await models.warm()
        model = models.get("box")
        calls: list[Awaitable[object]] = [
            complete(model, ChatRequest(HELLO, timeout=0.5)),
            anext(model.stream(ChatRequest(HELLO, timeout=0.5))),
        ]
        for call in calls:
            with pytest.raises(ModelRefused) as caught:
                await call
            assert "the endpoint 'box' has no default model; name one: box/MODEL, or set `model`" in str(caught.value)
            assert said in str(caught.value)
            assert (caught.value.call.billed, caught.value.call.elsewhere) == ("nothing", True)
        with pytest.raises(ModelRefused, match="has no default model"):
            await models.embedder("box").embed(["hello"], timeout=0.5)
    assert {request.method for request in server.requests} == {"GET"}


async def test_a_default_model_answers_under_its_whole_name(tmp_path: Path) -> None:
    async with ModelServer(lambda request: request.body["model"]) as server:
        path = tmp_path / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "{server.url}"\nmodel = "org/small"\n')
        async with OpenAIModels({"SWARM_CONFIG": str(path)}) as models:
            answer = await complete(models.get("box"), ChatRequest(HELLO))
            other = await complete(models.get("box/other"), ChatRequest(HELLO))
            assert models.embedder("box").name == models.get("box").name == "box/org/small"

    assert (answer.model, answer.text) == ("box/org/small", "org/small")
    assert (other.model, other.text) == ("box/other", "other")


@pytest.mark.parametrize("name", ["gpt-6", "gpt 6", "", "box/", "/small", "Box/small"])
async def test_a_name_that_is_neither_is_refused_with_those_that_are(name: str) -> None:
    async with served(lambda request: "") as (_, models):
        with pytest.raises(ModelRefused) as caught:
            models.get(name)
    assert "a model is named endpoint/model" in str(caught.value)


class Noted:
    """An account that notes who asks."""

    def __init__(self) -> None:
        self.models: list[str] = []

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        self.models.append(model)
        return Reservation(1, model)

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        return Usage()


async def test_an_account_pays_for_the_model_that_is_meant_and_for_none_that_is_not_asked(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as server:
        path = tmp_path / "swarm.toml"
        path.write_text(
            f'[endpoints.box]\nurl = "{server.url}"\nmodel = "small"\n[endpoints.bare]\nurl = "{server.url}"\n'
        )
        async with OpenAIModels({"SWARM_CONFIG": str(path)}) as models:
            token = ACCOUNT.set(account := Noted())
            await complete(MeteredModels(models).get("box"), ChatRequest(HELLO))
            with pytest.raises(ModelRefused, match="has no default model"):
                await complete(MeteredModels(models).get("bare"), ChatRequest(HELLO))
            ACCOUNT.reset(token)

    assert account.models == ["box/small"]
