"""Passes requests on to a real endpoint, and writes down what it answers: a recording to be played later."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from swarm.errors import ExpertError
from swarm.llm.bodies import error
from swarm.llm.endpoints import Endpoint
from swarm.llm.openai import OpenAIModels
from swarm.llm.patience import Patience
from swarm.llm.reading import MAX_STREAM, ServerError
from swarm.llm.recordings import line
from swarm.llm.server import Answer, Cut, Received, Reply, Stream

TIMEOUT = 600.0
"""Seconds for one answer."""
_KEPT = re.compile(r"retry-after(-ms)?|llm_provider-.*|x-ratelimit-.*|x-ms-.*")
"""Headers of an answer that say something to whoever asks."""
_EVENT = re.compile(r"(?<=\n\n)")


class Recorder:
    """The script of a `ModelServer` that asks `endpoint`, and gives each request with its answer to `write`, as a line.

    What never reached the endpoint is answered with 502, and not written down.
    """

    def __init__(self, models: OpenAIModels, endpoint: Endpoint, write: Callable[[str], object]) -> None:
        self._models, self._endpoint, self._write = models, endpoint, write

    async def __call__(self, request: Received) -> Answer:
        route = request.route
        if not route or (route != "models" and not (isinstance(request.body, dict) and request.body.get("model"))):
            return Reply(error("only requests to a model are passed on: a JSON object that names it"), 400)
        patience = Patience.of(self._endpoint.timeouts, TIMEOUT, asyncio.get_running_loop().time())
        opened = AsyncExitStack()
        try:
            await self._models.ready(self._endpoint.name, patience)
            with self._models.translated(self._endpoint.name, self._endpoint, patience):
                body = request.body if isinstance(request.body, dict) else {}
                response = await self._models.sent(self._endpoint, route, body, patience, opened)
                if request.streamed:
                    return Stream(self._passed(request, response, opened))
                answer = Reply((await _whole(response)).decode("utf-8", "replace"), 200, _headers(response.headers))
        except ServerError as problem:
            answer = Reply(problem.body, problem.status, _headers(problem.headers))
        except ExpertError as problem:
            await opened.aclose()
            return Reply(error(self._endpoint.clean(str(problem)), "server_error"), 502)
        await opened.aclose()
        self._write(line(request, answer))
        return answer

    async def _passed(self, request: Received, response: Any, opened: AsyncExitStack) -> AsyncIterator[bytes]:
        """The pieces of a stream as they come. It is written down when it has ended, whole or broken."""
        import httpx2

        parts, cut = bytearray(), False
        async with opened:
            try:
                async for part in response.iter_bytes():
                    parts += part
                    yield part
                    if len(parts) > MAX_STREAM:
                        raise Cut
            except (httpx2.HTTPError, httpx2.StreamError, Cut):
                cut = True
        events = [event for event in _EVENT.split(parts.decode("utf-8", "replace")) if event]
        self._write(line(request, Stream(events, cut=cut)))
        if cut:
            raise Cut


async def _whole(response: Any) -> bytes:
    read = bytearray()
    async for part in response.iter_bytes():
        read += part
        if len(read) > MAX_STREAM:
            break
    return bytes(read)


def _headers(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if _KEPT.fullmatch(name.lower())}
