"""Forward requests to a real endpoint and record its responses, to be replayed later."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from swarm.errors import ExpertError
from swarm.llm.openai.connection import Api, OpenAIConnection
from swarm.llm.openai.response_parser import MAX_STREAM, ServerError
from swarm.llm.openai.timeouts import CallTimeouts
from swarm.testing.model_server import Answer, Cut, Received, Reply, Stream
from swarm.testing.openai_payloads import error
from swarm.testing.recordings import line

TIMEOUT = 600.0
"""Seconds for one answer."""
SECRET = 8
"""Least characters of a secret. A shorter one is a placeholder for a server that accepts any, and may be a word."""
_KEPT = re.compile(r"(llm_provider-)?(x-ms-)?retry-after(-ms)?|.*ratelimit.*")
"""Headers of an error that a client reads."""
_EVENT = re.compile(r"(?<=\n\n)")


class Recorder:
    """The script of a `ModelServer` that asks a real endpoint, and writes each request with its answer as a line.

    No line has the endpoint's secrets, even if the endpoint repeats them. A request that never reached it gets 502 and
    is not recorded; nor are lists of models, since a server that replays a recording has its own.
    """

    def __init__(self, connection: OpenAIConnection, write: Callable[[str], object]) -> None:
        self._connection, self._endpoint, self._write = connection, connection.endpoint, write

    async def __call__(self, request: Received) -> Answer:
        where, route = self._endpoint, request.route
        if not route or (route != "models" and not (isinstance(request.body, dict) and request.body.get("model"))):
            return Reply(error("only requests to a model are passed on: a JSON object that names it"), 400)
        timeouts = CallTimeouts.of(where.timeouts, TIMEOUT, asyncio.get_running_loop().time())
        try:
            if request.streamed:
                return await self._streamed(request, route, timeouts)
            whole = await self._connection.read(route, request.body or {}, timeouts, where.name, most=MAX_STREAM)
            answer = Reply(self._text(whole))
        except ServerError as problem:
            answer = Reply(self._text(problem.raw), problem.status, _kept(problem.headers))
        except ExpertError as problem:
            return Reply(error(where.clean(str(problem)), "server_error"), 502)
        if route != "models":
            self._write(line(request, answer))
        return answer

    async def _streamed(self, request: Received, route: Api, timeouts: CallTimeouts) -> Stream:
        where = self._endpoint
        await self._connection.ready(where.name, timeouts)
        async with AsyncExitStack() as opened:
            with self._connection.translated(where.name, timeouts):
                response = await self._connection.send(route, request.body, timeouts, opened)
            return Stream(self._passed(request, response, timeouts, opened.pop_all()))

    async def _passed(
        self, request: Received, response: Any, timeouts: CallTimeouts, opened: AsyncExitStack
    ) -> AsyncIterator[bytes]:
        """The pieces of a stream as they come. It is recorded at its end, complete or broken."""
        import httpx2

        parts, cut = bytearray(), False
        async with opened:
            coming = aiter(response.iter_bytes())
            try:
                while part := await _next(coming, timeouts.until):
                    parts += part
                    yield part
                    if len(parts) > MAX_STREAM:
                        raise Cut
            except (httpx2.HTTPError, httpx2.StreamError, TimeoutError, Cut):
                cut = True
        events = [event for event in _EVENT.split(self._text(parts)) if event]
        self._write(line(request, Stream(events, cut=cut)))
        if cut:
            raise Cut

    def _text(self, content: bytes | bytearray) -> str:
        """`content` as text, without secrets."""
        text = content.decode("utf-8", "replace")
        for secret in (self._endpoint.key, *self._endpoint.secrets):
            text = text.replace(secret, "***") if len(secret) >= SECRET else text
        return text


async def _next(parts: AsyncIterator[bytes], until: float) -> bytes:
    """The next piece that is not empty; an empty one at the end. Raises TimeoutError."""
    async with asyncio.timeout_at(until):
        async for part in parts:
            if part:
                return part
    return b""


def _kept(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if _KEPT.fullmatch(name.lower())}
