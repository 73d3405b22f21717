"""A small OpenAI-compatible server on loopback whose answers are a plain function, for tests of its clients.

>>> import asyncio
>>> from swarm.llm.base import ChatRequest, Message, complete
>>> from swarm.llm.openai.models import OpenAIModels
>>> async def main():
...     async with ModelServer(lambda request: f"You said {request.last}.") as server:
...         async with OpenAIModels({"SWARM_ENDPOINT_BOX_URL": server.url}) as models:
...             answer = await complete(models.get("box/small"), ChatRequest([Message("user", "hello")]))
...         return answer.text, server.requests[0].model, server.accepted
>>> asyncio.run(main())
('You said hello.', 'small', 1)

A text becomes what its path names: a chat completion, a response, either of them streamed if requested, embeddings, or
a list of models. A `Reply` is sent unchanged, a `Stream` piece by piece, and a script that never returns hangs
(`hang`). Dialects of real servers are in `dialects.py`, answers from a file in `script_rules.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import suppress
from typing import Self

from swarm.testing.answers import Manner, answered, embedded, openai_refusal, problem
from swarm.testing.http_server import DONE as DONE
from swarm.testing.http_server import MAX_HEAD, RequestReader, UnreadableRequest, received, sent, streamed
from swarm.testing.http_server import Answer as Answer
from swarm.testing.http_server import Cut as Cut
from swarm.testing.http_server import Received as Received
from swarm.testing.http_server import Reply as Reply
from swarm.testing.http_server import Script as Script
from swarm.testing.http_server import Stream as Stream
from swarm.testing.openai_payloads import DIMENSIONS, SERVED, listing
from swarm.testing.openai_payloads import USAGE as USAGE
from swarm.testing.openai_payloads import chunk as chunk
from swarm.testing.openai_payloads import completion as completion
from swarm.testing.openai_payloads import error as error
from swarm.testing.openai_payloads import pieces as pieces

MANNER = Manner()
"""The format of responses without a dialect: that of OpenAI."""


async def hang(request: Received) -> None:
    """The script of a server that takes requests and never answers."""
    await asyncio.Event().wait()


class ModelServer:
    """Answers every request as `script` says, after `latency` seconds; each streamed piece takes `delay` seconds.

    Connections are kept alive. `requests` has all requests, `open` counts the unanswered ones, `hung_up` those whose
    client disconnected before the end of the response: the script is cancelled then, and `left` is set. `connections`
    counts the open connections, `accepted` all of them. A script that raises answers 500.
    """

    def __init__(self, script: Script, *, delay: float = 0.0, latency: float = 0.0, port: int = 0) -> None:
        self.script, self.delay, self.latency = script, delay, latency
        self.requests: list[Received] = []
        self.open = self.hung_up = 0
        self.connections = self.accepted = 0
        self.left = asyncio.Event()
        self.url = ""
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def note(self, request: Received, outcome: str, seconds: float) -> None:
        """Called after each request, to be overridden. `outcome` is the status, or how it ended without one."""

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = RequestReader(limit=MAX_HEAD)

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            self.connections += 1
            task = asyncio.create_task(self._serve(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

        return asyncio.StreamReaderProtocol(reader, accepted)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.connections -= 1

    async def _serve(self, reader: RequestReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: requests and responses in turn, until either side closes it."""
        try:
            while (request := await received(reader, writer)) and await self._exchanged(request, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except UnreadableRequest as refused:
            with suppress(ConnectionError):
                await sent(Reply(error(str(refused)), refused.status), writer, last=True)
        finally:
            writer.close()

    async def _exchanged(self, request: Received, reader: RequestReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; whether the connection can take another one."""
        self.requests.append(request)
        self.open += 1
        begun, outcome = time.perf_counter(), "stopped"
        try:
            with reader.watched():
                outcome, goes_on = await self._replied(request, writer)
            return goes_on
        except ConnectionError:
            outcome = "client left"
            self.hung_up += 1
            self.left.set()
            return False
        except Cut:
            outcome = "200, cut"
            return False
        finally:
            self.open -= 1
            self.note(request, outcome, time.perf_counter() - begun)

    async def _replied(self, request: Received, writer: asyncio.StreamWriter) -> tuple[str, bool]:
        """Send the response; its status, or how it ended without one, and whether the connection stays open."""
        if self.latency:
            await asyncio.sleep(self.latency)
        answer = await self._said(request)
        last = request.headers.get("connection", "").lower() == "close"
        if isinstance(answer, str):
            answer = shaped(request, answer, self.delay)
        if answer is None:
            return "hung up", False
        if isinstance(answer, Stream):
            await streamed(answer, writer, last=last)
            return ("200, cut", False) if answer.cut else ("200", not last)
        last = last or "content-length" in answer.headers
        await sent(answer, writer, last=last)
        return str(answer.status), not last

    async def _said(self, request: Received) -> Answer:
        try:
            answer = self.script(request)
            return await answer if inspect.isawaitable(answer) else answer
        except ConnectionError:
            raise
        except Exception as problem:
            return Reply(error(f"the script raised {type(problem).__name__}: {problem}", "server_error"), 500)


# -- a text as an answer ---------------------------------------------------------------------------------------


def shaped(request: Received, text: str, delay: float = 0.0) -> Reply | Stream:
    """`text` as the response that the path names; 404 for an unknown path."""
    if request.route == "models":
        return Reply(listing([SERVED]))
    if not request.route:
        return Reply(error(f"nothing is at {request.method} {request.path[:200]}"), 404)
    if not isinstance(request.body, dict):
        return Reply(error("the body is no JSON object"), 400)
    if (found := problem(MANNER, request)) is not None:
        return openai_refusal(found)
    if request.route == "embeddings":
        return embedded(request, size=DIMENSIONS)
    return answered(MANNER, request, text, delay=delay)
