"""Connections of the scripted HTTP server: kept, broken off, capped and slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from swarm.testing import http_server
from swarm.testing.model_server import DONE, Answer, Cut, ModelServer, Received, Reply, Stream, chunk, completion, hang
from tests.integration.testing.http import HELLO, client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.002)


# -- connections -----------------------------------------------------------------------------------------------


async def test_a_connection_takes_one_request_after_the_other() -> None:
    async with ModelServer(lambda request: "hello") as server, client(server) as http:
        for streamed in (False, True, False, True):
            answer = await http.post("/chat/completions", json=HELLO | {"stream": streamed})
            assert "hel" in answer.text
            assert server.open == 0, "who has the whole answer is not waiting any more"
        assert (server.accepted, server.connections, len(server.requests)) == (1, 1, 4)
        await http.aclose()
        await until(lambda: server.connections == 0)

    assert (server.hung_up, server.open) == (0, 0), "whoever leaves between two requests has hung up on none"


async def test_a_client_that_wants_no_more_gets_its_connection_closed() -> None:
    async with ModelServer(lambda request: "hello") as server, client(server) as http:
        answer = await http.post("/chat/completions", json=HELLO, headers={"connection": "close"})
        await until(lambda: server.connections == 0)

    assert answer.headers["connection"] == "close"


async def test_who_hangs_up_is_seen_at_once_also_on_a_connection_that_was_used_before() -> None:
    left = asyncio.Event()

    async def script(request: Received) -> Answer:
        if len(server.requests) == 1:
            return "hello"
        try:
            await hang(request)
        finally:
            left.set()
        return None

    async with ModelServer(script) as server, client(server) as http:
        await http.post("/chat/completions", json=HELLO)
        waiting = asyncio.create_task(http.post("/chat/completions", json=HELLO))
        await until(lambda: server.open == 1)
        assert (server.accepted, server.connections) == (1, 1)
        waiting.cancel()
        async with asyncio.timeout(40):
            await left.wait()
            await server.left.wait()
        await until(lambda: server.connections == 0)

    assert (server.hung_up, server.open, server.accepted) == (1, 0, 1)


async def test_requests_sent_together_are_answered_in_turn() -> None:
    body = json.dumps(HELLO).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with ModelServer(lambda request: f"number {len(server.requests)}") as server:
        reader, writer = await _connected(server)
        writer.write((head + body) * 3)
        said = await _until_read(reader, b"number 3")
        writer.close()

    assert [said.count(b"number %d" % number) for number in (1, 2, 3)] == [1, 1, 1]
    assert server.accepted == 1


@pytest.mark.parametrize("answer", [None, Stream([chunk("half")], cut=True), Reply(b"{", 200, {"content-length": "9"})])
async def test_an_answer_that_breaks_off_ends_its_connection(answer: Answer) -> None:
    async with ModelServer(lambda request: answer) as server, client(server) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post("/chat/completions", json=HELLO)
        await until(lambda: server.connections == 0)

    assert server.hung_up == 0, "it was the server"


async def test_parts_of_a_stream_may_break_it_off() -> None:
    closed = False

    async def parts() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield chunk("half")
            raise Cut
        finally:
            closed = True

    async with ModelServer(lambda request: Stream(parts())) as server, client(server) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post("/chat/completions", json=HELLO)

    assert closed


async def test_parts_of_a_stream_are_closed_when_its_reader_leaves() -> None:
    closed = asyncio.Event()

    async def parts() -> AsyncIterator[Any]:
        try:
            while True:
                yield chunk("more ")
        finally:
            closed.set()

    async with ModelServer(lambda request: Stream(parts(), delay=0.001)) as server, client(server) as http:
        async with http.stream("POST", "/chat/completions", json=HELLO) as answer:
            await anext(answer.aiter_bytes())
        await asyncio.wait_for(closed.wait(), 40)

    assert server.hung_up == 1


# -- caps ------------------------------------------------------------------------------------------------------


async def _connected(server: ModelServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", httpx2.URL(server.url).port)


async def _until_read(reader: asyncio.StreamReader, wanted: bytes) -> bytes:
    said = b""
    async with asyncio.timeout(40):
        while wanted not in said:
            more = await reader.read(65_536)
            assert more, said
            said += more
    return said


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", b"413"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n", b"413"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000, b"431"),
    ],
)
async def test_what_is_too_large_is_refused_before_it_is_read(
    sent: bytes, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "MAX_REQUEST", 1_000)
    async with ModelServer(lambda request: "hello") as server:
        reader, writer = await _connected(server)
        writer.write(sent)
        said = await _until_read(reader, b"error")
        writer.close()
        await until(lambda: server.connections == 0)

    assert said.startswith(b"HTTP/1.1 " + status)
    assert server.requests == []


async def test_who_asks_before_sending_a_body_is_told_to_go_on() -> None:
    body = json.dumps(HELLO).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
    async with ModelServer(lambda request: "hello") as server:
        reader, writer = await _connected(server)
        writer.write(head)
        await _until_read(reader, b"100 Continue\r\n\r\n")
        writer.write(body)
        assert b"hello" in await _until_read(reader, b"}]")
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"\r\n\r\n", b"POST /v1/models"])
async def test_rubbish_ends_its_own_connection_and_no_other(sent: bytes) -> None:
    async with ModelServer(lambda request: "hello") as server, client(server) as http:
        _, writer = await _connected(server)
        writer.write(sent)
        writer.close()
        await until(lambda: server.accepted == 1 and server.connections == 0)
        assert (await http.post("/chat/completions", json=HELLO)).status_code == 200


# -- time ------------------------------------------------------------------------------------------------------


async def test_there_is_time_before_the_first_piece_and_between_the_pieces() -> None:
    loop = asyncio.get_running_loop()
    async with ModelServer(lambda request: "one two three", delay=0.02, latency=0.1) as server, client(server) as http:
        begun, moments = loop.time(), []
        async with http.stream("POST", "/chat/completions", json=HELLO | {"stream": True}) as answer:
            async for _ in answer.aiter_bytes():
                moments.append(loop.time() - begun)

    assert moments[0] >= 0.1
    assert moments[-1] - moments[0] >= 0.04


async def test_a_server_that_hangs_lets_go_when_it_is_closed() -> None:
    async with asyncio.timeout(40):
        async with ModelServer(hang) as server, client(server) as http:
            waiting = asyncio.create_task(http.post("/chat/completions", json=HELLO))
            await until(lambda: server.open == 1)
        with pytest.raises(httpx2.HTTPError):
            await waiting


async def test_each_request_is_told_with_its_outcome() -> None:
    class Told(ModelServer):
        def note(self, request: Received, outcome: str, seconds: float) -> None:
            told.append(outcome)
            assert 0 <= seconds <= asyncio.get_running_loop().time() - begun

    told: list[str] = []
    begun = asyncio.get_running_loop().time()
    answers: list[Answer | Awaitable[Answer]] = [
        "hello",
        Reply(completion("hello"), 503),
        Stream([chunk("half")], cut=True),
        Stream([chunk("all"), DONE]),
        None,
    ]
    async with Told(lambda request: answers.pop(0)) as server:
        for _ in range(5):
            async with client(server) as http:
                with suppress(httpx2.HTTPError):
                    await http.post("/chat/completions", json=HELLO)
        await until(lambda: len(told) == 5)

    assert told == ["200", "503", "200, cut", "200", "hung up"]
