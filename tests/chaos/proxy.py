"""The wire between everybody and Redis: a TCP proxy that cuts, resets, holds, loses or corrupts what it carries."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Iterable
from typing import Self

CHUNK = 65_536
NO_LINGER = struct.pack("ii", 1, 0)
"""A socket that is closed with this sends a reset."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client, self._server = client, server
        self.losing = False
        """Whether the next answer is lost, and the connection with it."""
        self.held_until = 0.0
        """Until when, by the loop's clock, nothing goes through."""
        self.half_open = False
        """Whether what comes is dropped, while nobody hangs up: as behind a router that forgot the connection."""
        self.corrupting = False
        """Whether a bit of the next answer is turned over, which only TLS notices."""
        self.tearing = False
        """Whether it is reset in the middle of the next answer."""
        self.fuse: int | None = None
        """Pieces that it still carries, in either direction, before it is reset; None: as many as come."""

    def cut(self) -> None:
        for side in (self._client, self._server):
            side.transport.abort()

    def reset(self) -> None:
        """End it with a TCP reset on both sides, whatever is under way."""
        for side in (self._client, self._server):
            if (wire := side.get_extra_info("socket")) is not None and not side.transport.is_closing():
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
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
                if self.half_open:
                    continue
                if answers and self.corrupting:
                    self.corrupting, data = False, data[:-1] + bytes([data[-1] ^ 1])
                if answers and self.tearing:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    self.reset()
                    break
                writer.write(data)
                await writer.drain()
                if self.fuse is not None:
                    self.burn(1)
        if not self.half_open:
            self.cut()

    def burn(self, pieces: int) -> None:
        """Count what was carried, and reset the connection when its fuse is over."""
        self.fuse = (self.fuse or 0) - pieces
        if self.fuse <= 0:
            self.reset()


class Proxy:
    """Listens on loopback and carries every connection to the Redis on `port`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._links: dict[Link, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.fuses: list[int] = []
        """The fuses of the next connections, one each; 0: it is reset as soon as it is there."""
        self.made = 0
        """Connections so far."""

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
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def links(self) -> list[Link]:
        """The connections that are there now."""
        return list(self._links)

    def some(self, chance: random.Random, share: float) -> list[Link]:
        """A share of the connections, one at least if there are any."""
        links = list(self._links)
        return chance.sample(links, min(len(links), max(1, round(share * len(links)))))

    def cut(self, links: Iterable[Link]) -> None:
        for link in links:
            link.cut()

    def reset(self, links: Iterable[Link]) -> None:
        for link in links:
            link.reset()

    def half_open(self, links: Iterable[Link]) -> None:
        """Drop all that comes on these, for good, and hang up on nobody."""
        for link in links:
            link.half_open = True

    def tear(self, links: Iterable[Link]) -> None:
        """Reset each in the middle of its next answer; over TLS that is in the middle of a record."""
        for link in links:
            link.tearing = True

    def corrupt(self, links: Iterable[Link]) -> None:
        """Turn over a bit of the next answer of each. For TLS only: plain Redis would take it for the answer."""
        for link in links:
            link.corrupting = True

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
        self.made += 1
        link = Link(writer, server)
        self._links[link] = None
        if self.fuses:
            link.fuse = self.fuses.pop(0)
            link.burn(0)
        try:
            await asyncio.gather(link.carry(reader, server, answers=False), link.carry(answers, writer, answers=True))
        finally:
            del self._links[link]
            link.cut()
