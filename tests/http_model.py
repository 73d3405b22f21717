"""A small OpenAI-compatible server on loopback whose answers are a plain function: for tests of what speaks to one.

async with ModelServer(lambda request: "hello") as server:
    models = OpenAIModels({"SWARM_ENDPOINT_TEST_URL": server.url})
    ...
    assert server.requests[0].body["model"] == "small"
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
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


Answer = str | Reply | None
"""Text becomes a chat completion, None hangs up without a word."""
Script = Callable[[Received], Answer | Awaitable[Answer]]


class ModelServer:
    """Answers every POST as `script` says. `requests` are those that came, `open` counts those not answered yet,
    `hung_up` those whose client went away before the answer: its script is cancelled then, and `left` is set."""

    def __init__(self, script: Script) -> None:
        self.script = script
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
                reply = await self._answer(request, reader)
            finally:
                self.open -= 1
            if reply is not None:
                writer.write(_head(reply) + reply.encoded())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up += 1
            self.left.set()
        finally:
            writer.close()

    async def _answer(self, request: Received, reader: asyncio.StreamReader) -> Reply | None:
        """What the script says, unless the client goes first."""
        answer = self.script(request)
        if inspect.isawaitable(answer):
            working = asyncio.ensure_future(answer)
            gone = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not working.done():
                    raise ConnectionError("the client hung up")
                answer = await working
            finally:
                working.cancel()
                gone.cancel()
                await asyncio.gather(working, gone, return_exceptions=True)
        return Reply(completion(answer)) if isinstance(answer, str) else answer


def completion(text: str, **changes: Any) -> dict[str, Any]:
    """The body of a chat completion; `finish_reason` and whatever else may be changed."""
    finish = changes.pop("finish_reason", "stop")
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **changes,
    }


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split(" ")[1], headers, json.loads(content) if content else None)


def _head(reply: Reply) -> bytes:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(reply.encoded())),
        "connection": "close",
        **reply.headers,
    }
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
