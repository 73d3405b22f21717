"""The wire between everybody and Redis: a TCP proxy that cuts, holds and loses what it carries, when told to."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable
from typing import Self

CHUNK = 65_536


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client, self._server = client, server
        self.losing = False
        """Whether the next answer is lost, and the connection with it."""
        self.held_until = 0.0
        """Until when, by the loop's clock, nothing goes through."""

    def cut(self) -> None:
        for side in (self._client, self._server):
            side.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        """Pass on what comes from one side until it hangs up."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError, RuntimeError):
            while data := await reader.read(CHUNK):
                while (left := self.held_until - loop.time()) > 0:  # noqa: ASYNC110 - it may be held for longer
                    await asyncio.sleep(left)
                if answers and self.losing:
                    break
                writer.write(data)
                await writer.drain()
        self.cut()


class Proxy:
    """Listens on loopback and carries every connection to the Redis on `port`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._links: dict[Link, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut(list(self._links))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def some(self, chance: random.Random, share: float) -> list[Link]:
        """A share of the connections, one at least if there are any."""
        links = list(self._links)
        return chance.sample(links, min(len(links), max(1, round(share * len(links)))))

    def cut(self, links: Iterable[Link]) -> None:
        for link in links:
            link.cut()

    def lose(self, links: Iterable[Link]) -> None:
        """Swallow the next answer of each, then cut it: what was asked has happened, and the asker cannot know."""
        for link in links:
            link.losing = True

    def hold(self, links: Iterable[Link], seconds: float) -> None:
        """Let nothing through for a while; then everything, in order."""
        until = asyncio.get_running_loop().time() + seconds
        for link in links:
            link.held_until = max(link.held_until, until)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()  # Redis is down
            return
        link = Link(writer, server)
        self._links[link] = None
        try:
            await asyncio.gather(link.carry(reader, server, answers=False), link.carry(answers, writer, answers=True))
        finally:
            del self._links[link]
            link.cut()
