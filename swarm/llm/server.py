"""A small OpenAI-compatible server on loopback whose answers are a plain function: for tests of what speaks to one.

async with ModelServer(lambda request: "hello") as server:
    models = OpenAIModels({"SWARM_ENDPOINT_TEST_URL": server.url})
    ...
    assert server.requests[0].body["model"] == "small"

A text is streamed where a stream was asked for, `delay` seconds apart; `Stream` says what is streamed in detail.
What real servers do differently is in `dialects.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """A request as it came. Header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def last(self) -> str:
        """The words of the last message."""
        return str(self.body["messages"][-1]["content"])

    @property
    def streamed(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(frozen=True)
class Reply:
    """What goes back. A mapping or list is sent as JSON, text and bytes as they are."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Stream:
    """What goes back bit by bit: a mapping is sent as an event, text and bytes as they are.

    Its end is the server hanging up in the middle if it is `cut`, and otherwise the proper one.
    """

    parts: Iterable[Any] | AsyncIterator[Any]
    delay: float = 0.0
    cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = str | Reply | Stream | None
"""Text becomes a chat completion, streamed if that was asked for; None hangs up without a word."""
Script = Callable[[Received], Answer | Awaitable[Answer]]
DONE = "data: [DONE]\n\n"


class ModelServer:
    """Answers every POST as `script` says. `requests` are those that came, `open` counts those not answered yet,
    `hung_up` those whose client went away before the answer's end: its script is cancelled then, and `left` is set."""

    def __init__(self, script: Script, *, delay: float = 0.0) -> None:
        self.script = script
        self.delay = delay
        self.requests: list[Received] = []
        self.open = 0
        self.hung_up = 0
        self.left = asyncio.Event()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.requests.append(request)
            self.open += 1
            try:
                await _while_connected(self._replied(request, writer), reader)
            finally:
                self.open -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up += 1
            self.left.set()
        finally:
            writer.close()

    async def _replied(self, request: Received, writer: asyncio.StreamWriter) -> None:
        answer = self.script(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, str):
            answer = self._said(request, answer)
        if isinstance(answer, Stream):
            await _streamed(answer, writer)
        elif answer is not None:
            writer.write(_head(answer.status, {"content-length": str(len(answer.encoded())), **answer.headers}))
            writer.write(answer.encoded())
            await writer.drain()

    def _said(self, request: Received, text: str) -> Reply | Stream:
        if not request.streamed:
            return Reply(completion(text))
        usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
        last = [chunk(usage=USAGE, choices=[])] if usage else []
        return Stream([*map(chunk, pieces(text)), chunk(finish_reason="stop"), *last, DONE], self.delay)


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def completion(text: str | None, **changes: Any) -> dict[str, Any]:
    """The body of a chat completion; `finish_reason`, `tool_calls` and whatever else may be changed."""
    finish = changes.pop("finish_reason", "stop")
    message = {"role": "assistant", "content": text}
    if calls := changes.pop("tool_calls", None):
        message["tool_calls"] = calls
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": USAGE,
        **changes,
    }


def chunk(text: str | None = None, **changes: Any) -> dict[str, Any]:
    """One event of a streamed completion; `delta`, `finish_reason` and whatever else may be changed."""
    delta = changes.pop("delta", {} if text is None else {"content": text})
    finish = changes.pop("finish_reason", None)
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served",
        "choices": [{"index": 0, "finish_reason": finish, "delta": delta}],
        **changes,
    }


def pieces(text: str) -> list[str]:
    """A text in pieces the size of tokens; larger ones where there would be more than a few hundred."""
    size = max(4, len(text) // 400)
    return [text[start : start + size] for start in range(0, len(text), size)]


async def _while_connected(work: Awaitable[None], reader: asyncio.StreamReader) -> None:
    """Do `work` unless the client goes first."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ConnectionError("the client hung up")
        await working
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _streamed(stream: Stream, writer: asyncio.StreamWriter) -> None:
    kind = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    writer.write(_head(200, {**kind, **stream.headers}))
    parts = stream.parts
    async for part in parts if isinstance(parts, AsyncIterator) else _each(parts):
        data = f"data: {json.dumps(part)}\n\n" if isinstance(part, dict) else part
        data = data.encode() if isinstance(data, str) else data
        if writer.is_closing():
            raise ConnectionError("the client hung up")
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
        await asyncio.sleep(stream.delay)
    if not stream.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _each(parts: Iterable[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split(" ")[1], headers, json.loads(content) if content else None)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    headers = {"content-type": "application/json", "connection": "close", **headers}
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
