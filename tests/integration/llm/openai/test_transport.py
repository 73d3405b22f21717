"""Servers that are not there, not who they should be, or not in a hurry: each a typed error, in its time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from swarm.errors import ModelRefused, ModelUnavailable
from swarm.llm.base import ChatRequest, Message, complete
from swarm.testing.model_server import ModelServer, Received, Reply, Stream, chunk, hang
from tests.integration.llm.openai.calls import answer, failure, free_port, models_of, raw, says

# -- not there -----------------------------------------------------------------------------------------------------


async def test_a_port_on_which_nobody_listens_costs_nothing_and_says_so_of_the_endpoint(tmp_path: Path) -> None:
    error = await failure(models_of(tmp_path, f"http://127.0.0.1:{free_port()}/v1"))

    assert isinstance(error, ModelUnavailable)
    assert (error.call.billed, error.call.health, error.call.elsewhere) == ("nothing", "endpoint", True)
    assert "cannot reach 127.0.0.1:" in str(error)
    assert "check the URL of the endpoint 'box'" in str(error)


async def test_a_host_without_an_address_is_not_reached(tmp_path: Path) -> None:
    error = await failure(models_of(tmp_path, "http://no-such-host.invalid/v1"))

    assert isinstance(error, ModelUnavailable)
    assert "cannot reach no-such-host.invalid" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


@asynccontextmanager
async def unanswered() -> AsyncIterator[str]:
    """The URL of a host that accepts no connection any more."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with ExitStack() as waiting:
            for _ in range(4):
                each = waiting.enter_context(socket.socket())
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"


async def test_a_host_that_does_not_answer_is_given_up_after_the_time_for_a_connection(tmp_path: Path) -> None:
    async with unanswered() as url:
        error = await failure(models_of(tmp_path, url, "timeouts = { connect = 0.3 }"))

    assert isinstance(error, ModelUnavailable)
    assert "no connection to 127.0.0.1" in str(error)
    assert "within 0.3 s (timeouts.connect of the endpoint 'box')" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


async def test_a_call_with_less_time_than_a_connection_may_take_costs_nothing_if_there_was_none(tmp_path: Path) -> None:
    async with unanswered() as url:
        assert (await failure(models_of(tmp_path, url), timeout=3)).call.billed == "nothing"


async def test_a_connection_that_takes_longer_than_a_first_token_may_costs_nothing(tmp_path: Path) -> None:
    async with unanswered() as url:
        error = await failure(models_of(tmp_path, url, "timeouts = { first_token = 1 }"))

    assert "no connection to 127.0.0.1" in str(error)
    assert "within 1 s (timeouts.first_token of the endpoint 'box')" in str(error)
    assert (error.call.billed, error.call.health) == ("nothing", "endpoint")


@pytest.mark.parametrize(
    "content",
    [
        b"220 mail.example.org ESMTP\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"",
    ],
    ids=["mail", "bytes", "no length", "no chunk", "endless head", "no status", "nothing"],
)
async def test_a_server_that_speaks_something_else_is_unavailable(tmp_path: Path, content: bytes) -> None:
    async with raw(lambda reader, writer: says(content, reader, writer)) as port:
        error = await failure(models_of(tmp_path, f"http://127.0.0.1:{port}/v1"))

    assert isinstance(error, ModelUnavailable)
    assert error.call.health == "model"


async def test_a_server_that_sends_one_elsewhere_is_refused_and_no_key_goes_there(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as there:
        moved = Reply("", 307, {"location": f"{there.url}/chat/completions"})
        async with ModelServer(lambda request: moved) as here:
            error = await failure(models_of(tmp_path, here.url))

    assert isinstance(error, ModelRefused)
    assert f"it redirects to {there.url.removesuffix('/v1')}: if that is the server, give" in str(error)
    assert there.requests == []


# -- in its time ---------------------------------------------------------------------------------------------------


async def dribbles(request: Received) -> Stream:
    async def parts() -> AsyncIterator[object]:
        yield chunk("begun")
        for byte in b"data: " + b"x" * 10_000:
            await asyncio.sleep(0.02)
            yield bytes([byte])

    return Stream(parts())


@pytest.mark.parametrize(
    ("limits", "timeout", "said"),
    [
        ("", 0.4, "no answer within 0.4 s"),
        ("total = 0.4", 5, "no answer within 0.4 s (timeouts.total of the endpoint 'box')"),
        ("total = 5", 0.4, "no answer within 0.4 s"),
        ("between_tokens = 0.3", 5, "no further token within 0.3 s (timeouts.between_tokens"),
        ("between_tokens = 3", 0.4, "no answer within 0.4 s"),
    ],
)
async def test_a_stream_that_dribbles_is_ended_by_the_smallest_limit(
    tmp_path: Path, limits: str, timeout: float, said: str
) -> None:
    async with ModelServer(dribbles) as server:
        models = models_of(tmp_path, server.url, f"timeouts = {{ {limits} }}")
        await models.warm()
        error = await failure(models, timeout=timeout)

    assert isinstance(error, ModelUnavailable)
    assert said in str(error)
    assert ("timeouts." in str(error)) is ("timeouts." in said)
    assert (error.call.health, error.call.billed) == ("model", "unknown")


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_first_token_is_waited_for_so_long_also_of_a_whole_answer(tmp_path: Path, streamed: bool) -> None:
    async with ModelServer(hang) as server:
        models = models_of(tmp_path, server.url, "timeouts = { first_token = 0.2, total = 0.6 }")
        error = await failure(models, streamed=streamed)

    assert "no first token within 0.2 s (timeouts.first_token" in str(error)


async def test_comments_are_no_tokens(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[str]:
        while True:
            yield ": keep-alive\n\n"
            await asyncio.sleep(0.02)

    async with ModelServer(lambda request: Stream(parts())) as server:
        error = await failure(models_of(tmp_path, server.url, "timeouts = { first_token = 0.2 }"))

    assert "no first token within 0.2 s" in str(error)


async def test_thoughts_are_tokens(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[object]:
        for _ in range(20):
            yield chunk(delta={"reasoning_content": "hm"})
            await asyncio.sleep(0.1)
        yield chunk("yes", finish_reason="stop")

    async with ModelServer(lambda request: Stream(parts())) as server:
        limits = "timeouts = { first_token = 1.5, between_tokens = 1.5 }"
        async with models_of(tmp_path, server.url, limits) as models:
            whole = await answer(models.get("box"), streamed=True)

    assert whole.text == "yes"
    assert whole.first > 1.5, "the first word of the answer comes after the thoughts"


async def test_words_that_are_no_unicode_are_a_typed_error(tmp_path: Path) -> None:
    async with ModelServer(lambda request: "hello") as server, models_of(tmp_path, server.url) as models:
        with pytest.raises(ModelRefused, match=r"^box/small: the request is not valid Unicode") as caught:
            await complete(models.get("box"), ChatRequest([Message("user", "half \ud83d")]))
        with pytest.raises(ModelRefused, match=r"^box/small: the request is not valid Unicode"):
            await models.embedder("box").embed(["half \ud83d"])

    assert caught.value.call.billed == "nothing"
