"""Being told that a job's log has grown: one subscription connection for all jobs that a process follows.

What is told here is only "look again": events are read from the log itself, so a lost message delays, and never
loses, an event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from swarm.broker.connection import open_client
from swarm.broker.keys import Keys

LOOK_AGAIN = 5.0
"""Seconds after which a follower looks at the log even if nobody told it to."""
LISTEN = 2.0
"""Seconds between signs of life on a quiet subscription."""


class Place:
    """Where one follower waits."""

    def __init__(self) -> None:
        self._news, self._over = asyncio.Event(), asyncio.Event()

    def tell(self, kind: str = "") -> None:
        """There is an event of this kind, or, with none, perhaps one of any."""
        self._news.set()
        if kind in ("ended", ""):
            self._over.set()

    async def more(self) -> None:
        """Return when there may be more to read."""
        await _soon(self._news)

    async def over(self) -> None:
        """Return when the job may have ended."""
        await _soon(self._over)


async def _soon(event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN):
            await event.wait()
    event.clear()


class Follower:
    """Tells places of news about their jobs. Nothing is opened before the first place is taken."""

    def __init__(self, url: str, keys: Keys) -> None:
        self._url, self._keys = url, keys
        self._places: dict[str, set[Place]] = {}
        self._client: Redis | None = None
        self._channel: Any = None
        self._listening: asyncio.Task[None] | None = None
        self._change = asyncio.Lock()

    async def aclose(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._hang_up()

    @contextlib.asynccontextmanager
    async def place(self, job: str) -> AsyncIterator[Place]:
        """A place for the block; from its beginning on no news of `job` is missed."""
        place = Place()
        first = job not in self._places
        self._places.setdefault(job, set()).add(place)
        if first:
            await self._subscribe(job)
        try:
            yield place
        finally:
            self._places[job].discard(place)
            if not self._places[job]:
                del self._places[job]
                await self._unsubscribe(job)

    async def _subscribe(self, job: str) -> None:
        async with self._change:
            with contextlib.suppress(exceptions.RedisError, OSError, TimeoutError):
                if self._channel is None:
                    await self._connect()
                else:
                    await self._channel.subscribe(self._keys.events(job))
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())

    async def _unsubscribe(self, job: str) -> None:
        async with self._change:
            if self._channel is not None:
                with contextlib.suppress(exceptions.RedisError, OSError, TimeoutError):
                    await self._channel.unsubscribe(self._keys.events(job))

    async def _connect(self) -> None:
        await self._hang_up()
        self._client = open_client(self._url, socket_timeout=None)
        channel = self._client.pubsub()
        if self._places:
            await channel.subscribe(*(self._keys.events(job) for job in self._places))
        self._channel = channel

    async def _listen(self) -> None:
        """Pass news on; after a break, connect again and let everybody look."""
        pause = 0.05
        while True:
            try:
                if self._channel is None:
                    async with self._change:
                        await self._connect()
                    self._tell_all()
                message = await self._channel.get_message(ignore_subscribe_messages=False, timeout=LISTEN)
                pause = 0.05
                if message is None:
                    await self._channel.ping()
                elif message["type"] in ("message", "subscribe"):
                    job = message["channel"].decode().rpartition(":")[2]
                    self._tell(job, message["data"].split(b" ", 2)[1].decode() if message["type"] == "message" else "")
            except (exceptions.RedisError, OSError, TimeoutError):
                async with self._change:
                    await self._hang_up()
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _tell(self, job: str, kind: str = "") -> None:
        for place in self._places.get(job, ()):
            place.tell(kind)

    def _tell_all(self) -> None:
        for job in list(self._places):
            self._tell(job)

    async def _hang_up(self) -> None:
        channel, client = self._channel, self._client
        self._channel = self._client = None
        for opened in (channel, client):
            if opened is not None:
                with contextlib.suppress(exceptions.RedisError, OSError, TimeoutError):
                    await opened.aclose()
