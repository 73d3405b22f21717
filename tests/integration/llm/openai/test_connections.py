"""Connections to a server: shared, bounded, through a proxy, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from swarm.errors import ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, complete
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import ModelServer, Received, Reply, Stream, chunk, completion, hang
from tests.integration.llm.openai.calls import HELLO, KEY, answer, failure, free_port, models_of


async def becomes(truth: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not truth():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# -- connections ---------------------------------------------------------------------------------------------------


async def test_calls_one_after_the_other_share_a_connection_which_is_closed_at_the_end(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as server:
        async with models_of(tmp_path, server.url) as models:
            for number in range(6):
                model = models.get("box" if number % 2 else "box/other")
                await answer(model, streamed=number > 2)
            assert (server.accepted, len(server.requests)) == (1, 6)
        await becomes(lambda: not server.connections)


async def test_no_more_connections_are_open_than_the_endpoint_may_have(tmp_path: Path) -> None:
    async def slowly(request: Received) -> str:
        await asyncio.sleep(0.1)
        return "hello"

    async with ModelServer(slowly) as server, models_of(tmp_path, server.url, "connections = 2") as models:
        await asyncio.gather(*(complete(models.get("box"), ChatRequest(HELLO, timeout=40)) for _ in range(6)))

    assert len(server.requests) == 6
    assert server.accepted <= 2


async def test_a_call_for_which_no_connection_gets_free_costs_nothing_and_names_the_limit(tmp_path: Path) -> None:
    async with ModelServer(hang) as server, models_of(tmp_path, server.url, "connections = 1") as models:
        holding = asyncio.create_task(complete(models.get("box"), ChatRequest(HELLO, timeout=40)))
        await becomes(lambda: server.open)
        with pytest.raises(ModelUnavailable, match="all 1 connections of the endpoint 'box' were in use") as caught:
            await complete(models.get("box"), ChatRequest(HELLO, timeout=1))
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

    assert (caught.value.call.billed, caught.value.call.health) == ("nothing", "")


async def test_headers_query_and_the_key_go_with_every_call(tmp_path: Path) -> None:
    more = (
        'headers = { OpenAI-Organization = "org-1" }\nheaders_env = { api-key = "TOKEN" }\n'
        'query = { api-version = "2026-01-01" }'
    )
    async with (
        ModelServer(lambda request: "hello") as server,
        models_of(tmp_path, server.url, more, TOKEN="tok-1") as models,
    ):
        await complete(models.get("box"), ChatRequest(HELLO))
        await models.get("box").connection.list_models()
        await models.embedder("box").embed(["hello"])

    assert [request.method for request in server.requests] == ["POST", "GET", "POST"]
    for request in server.requests:
        assert request.headers["openai-organization"] == "org-1"
        assert request.headers["api-key"] == "tok-1"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.path.endswith("?api-version=2026-01-01")


async def test_without_a_key_none_is_sent() -> None:
    server = ModelServer(lambda request: "hello")
    async with server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
        await complete(models.get("box/small"), ChatRequest(HELLO))

    assert "authorization" not in server.requests[0].headers


async def test_a_proxy_is_asked_for_the_server_and_named_if_it_is_not_there(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "by proxy") as proxy:
        through = f'proxy = "{proxy.url.removesuffix("/v1")}"'
        async with models_of(tmp_path, "http://far.invalid/v1", through) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "by proxy"

    assert proxy.requests[0].path == "http://far.invalid/v1/chat/completions"
    error = await failure(models_of(tmp_path, "http://far.invalid/v1", f'proxy = "http://127.0.0.1:{free_port()}"'))
    assert isinstance(error, ModelUnavailable)
    assert "and the proxy 127.0.0.1:" in str(error)


async def test_the_proxy_of_the_environment_is_asked_but_for_hosts_that_need_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ModelServer(lambda request: "by proxy") as proxy, ModelServer(lambda request: "direct") as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        async with models_of(tmp_path, server.url) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "by proxy"
        monkeypatch.setenv("NO_PROXY", "example.org, 127.0.0.1")
        async with models_of(tmp_path, server.url) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "direct"
        own = f'proxy = "{proxy.url.removesuffix("/v1")}"'
        async with models_of(tmp_path, server.url, own) as models:
            assert (await complete(models.get("box"), ChatRequest(HELLO))).text == "by proxy", (
                "what the file says holds for all"
            )


@pytest.mark.parametrize(
    ("variable", "url", "said"),
    [
        ("HTTP_PROXY", "foo://me:hunter2@proxy", "HTTP_PROXY is no URL of a proxy"),
        ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY is no URL of a proxy"),
        ("ALL_PROXY", "me:hunter2@proxy:99999", "ALL_PROXY is no URL of a proxy"),
        ("ALL_PROXY", "socks5://me:hunter2@proxy", "a SOCKS proxy needs the package socksio"),
    ],
)
async def test_a_proxy_of_the_environment_that_cannot_be_used_is_refused_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, url: str, said: str
) -> None:
    monkeypatch.setenv(variable, url)
    error = await failure(models_of(tmp_path, "http://127.0.0.1:9/v1"))

    assert isinstance(error, ModelRefused)
    assert said in str(error)
    assert "hunter2" not in str(error)
    assert (error.call.billed, error.call.elsewhere) == ("nothing", True)


async def test_nothing_is_sent_that_the_environment_holds_for_one_server_or_that_another_answer_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = f"Authorization: Bearer {KEY}-other\nx-gateway-token: {KEY}-other"
    environ = {"OPENAI_CUSTOM_HEADERS": custom, "OPENAI_ORG_ID": "org-env", "OPENAI_PROJECT_ID": "project-env"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    answers = (Reply(completion("hello"), headers={"set-cookie": f"c{n}=v; Path=/"}) for n in range(9))
    own = 'headers = { openai-project = "mine" }'
    async with (
        ModelServer(lambda request: next(answers)) as server,
        models_of(tmp_path, server.url, own) as models,
    ):
        for _ in range(3):
            await complete(models.get("box"), ChatRequest(HELLO))

    sent = server.requests[-1].headers
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["openai-project"] == "mine"
    assert not {"cookie", "x-gateway-token", "openai-organization"} & set(sent)


async def test_a_hundred_streams_that_are_cancelled_at_once_close_their_connections_and_leave_no_task(
    tmp_path: Path,
) -> None:
    async def endless() -> AsyncIterator[object]:
        while True:
            yield chunk("word ")
            await asyncio.sleep(0.05)

    async with (
        ModelServer(lambda request: Stream(endless())) as server,
        models_of(tmp_path, server.url, "connections = 100") as models,
    ):
        await models.warm()
        before = asyncio.all_tasks()
        reading = [asyncio.create_task(answer(models.get("box"), streamed=True, timeout=30)) for _ in range(100)]
        await becomes(lambda: server.open == 100)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await becomes(lambda: not server.connections)
        assert (server.accepted, server.hung_up) == (100, 100)
        assert asyncio.all_tasks() <= before

        server.script = lambda request: "hello"
        assert (await complete(models.get("box"), ChatRequest(HELLO, timeout=40))).text == "hello", "all are free again"
