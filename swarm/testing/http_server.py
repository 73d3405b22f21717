"""HTTP/1.1 for a scripted server: read requests, write responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_REQUEST = 64_000_000
"""Bytes of a request's body."""
MAX_HEAD = 65_536

Route = Literal["chat", "responses", "embeddings", "models", ""]
_ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "/chat/completions"): "chat",
    ("POST", "/responses"): "responses",
    ("POST", "/embeddings"): "embeddings",
    ("GET", "/models"): "models",
}


@dataclass(frozen=True)
class Received:
    """A request. Header names are in lower case; `body` is None if there is none or it is no JSON."""

    path: str
    headers: Mapping[str, str]
    body: Any
    method: str = "POST"

    @property
    def route(self) -> Route:
        """The API that the path names; empty for any other path."""
        path = self.path.partition("?")[0].rstrip("/")
        return next((route for (how, end), route in _ROUTES.items() if how == self.method and path.endswith(end)), "")

    @property
    def last(self) -> str:
        """The text of the last message."""
        said = self._messages()
        return _words(said[-1]) if said else ""

    @property
    def system(self) -> str:
        """The text of the system message, if it is the first, after the `instructions` of the responses API."""
        body, said = self._fields(), self._messages()
        first = said[0] if said and isinstance(said[0], dict) else {}
        own = _words(first) if first.get("role") in ("system", "developer") else ""
        return "\n\n".join(filter(None, (str(body.get("instructions") or ""), own)))

    @property
    def texts(self) -> list[str]:
        """The text of every message, after the `instructions` of the responses API."""
        instructions = self._fields().get("instructions")
        return [*([str(instructions)] if instructions else []), *map(_words, self._messages())]

    @property
    def model(self) -> str:
        return str(self._fields().get("model") or "")

    @property
    def streamed(self) -> bool:
        return bool(self._fields().get("stream"))

    def _fields(self) -> Mapping[str, Any]:
        return self.body if isinstance(self.body, dict) else {}

    def _messages(self) -> list[Any]:
        body = self._fields()
        said = body.get("messages", body.get("input"))
        return said if isinstance(said, list) else [said or ""]


def _words(message: Any) -> str:
    """What a message says, its content being a text or a list of parts."""
    said = message.get("content") if isinstance(message, dict) else message
    if isinstance(said, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in said)
    return str(said or "")


@dataclass(frozen=True)
class Reply:
    """What goes back. A mapping or list is sent as JSON, text and bytes as they are.

    A `content-length` of its own that is too great makes the answer break off.
    """

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


class Cut(Exception):
    """Raised by the parts of a stream: hang up here."""


Answer = str | Reply | Stream | None
"""Text becomes what the path asks for, streamed if that was asked for; None hangs up without a word."""
Script = Callable[[Received], Answer | Awaitable[Answer]]
DONE = "data: [DONE]\n\n"


# -- HTTP ------------------------------------------------------------------------------------------------------


class UnreadableRequest(Exception):
    """The request cannot be read."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


class RequestReader(asyncio.StreamReader):
    """A stream reader that detects at once when the client disconnects, and keeps the data sent before."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        self._working: asyncio.Task[Any] | None = None
        self._gone = False

    def feed_eof(self) -> None:
        super().feed_eof()
        self._leave()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._leave()

    def _leave(self) -> None:
        if self._working is not None and not self._gone:
            self._gone = True
            self._working.cancel()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Cancel the block and raise ConnectionError when the client disconnects."""
        self._working = task = asyncio.current_task()
        try:
            if self.at_eof():
                raise ConnectionError("the client hung up")
            yield
        except asyncio.CancelledError:
            if not self._gone or (task is not None and task.uncancel()):
                raise
            raise ConnectionError("the client hung up") from None
        finally:
            self._working = None


async def sent(reply: Reply, writer: asyncio.StreamWriter, *, last: bool) -> None:
    content = reply.encoded()
    writer.write(_head(reply.status, {"content-length": str(len(content)), **reply.headers}, last=last))
    writer.write(content)
    await writer.drain()


async def streamed(stream: Stream, writer: asyncio.StreamWriter, *, last: bool) -> None:
    kind = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    writer.write(_head(200, {**kind, **stream.headers}, last=last))
    parts = stream.parts if isinstance(stream.parts, AsyncIterator) else _each(stream.parts)
    try:
        async for part in parts:
            data = f"data: {json.dumps(part)}\n\n" if isinstance(part, dict) else part
            data = data.encode() if isinstance(data, str) else data
            if writer.is_closing():
                raise ConnectionError("the client hung up")
            if data:  # an empty one would be the end
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(stream.delay)
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()
    if not stream.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _each(parts: Iterable[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def received(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received | None:
    """The next request; None when the client has no more."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.LimitOverrunError:
        raise UnreadableRequest(431, f"the headers exceed {MAX_HEAD:,} bytes") from None
    except asyncio.IncompleteReadError:
        return None
    method, _, rest = head[0].partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if rest.endswith("HTTP/1.0"):
        headers["connection"] = "close"
    body = _decoded(await _content(headers, reader, writer))
    return Received(rest.partition(" ")[0], headers, body, method)


async def _content(headers: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        raise UnreadableRequest(411, "a body needs a content-length")
    if len(length) > 15 or int(length) > MAX_REQUEST:
        raise UnreadableRequest(413, f"the body exceeds {MAX_REQUEST:,} bytes")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await reader.readexactly(int(length))


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _head(status: int, headers: Mapping[str, str], *, last: bool) -> bytes:
    headers = {"content-type": "application/json", **({"connection": "close"} if last else {}), **headers}
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
