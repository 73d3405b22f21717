"""Detection of half-open connections, as opposed to a slow Redis.

A router or firewall that has forgotten a connection closes nothing and delivers nothing. So when a connection has been
silent for SILENCE seconds, Redis is pinged over a new one. If it replies there twice, CONFIRM seconds apart, the old
connection is given up; if not, Redis is slow for all, and the caller waits on. Twice, since after a long script Redis
sends its reply and that of the ping together, and a large reply takes longer to read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from redis.asyncio import Redis

from swarm.broker.address import CONNECT_TIMEOUT
from swarm.broker.connection_errors import hang_up

SILENCE = 2.0
"""Seconds without a reply before Redis is pinged over a new connection; longer than any WAIT for a replica."""
CONFIRM = 1.0
"""Seconds between two pings."""


@contextlib.asynccontextmanager
async def watched(client: Redis, heard: Callable[[], int]) -> AsyncIterator[None]:
    """Raise TimeoutError in the block if `heard`, a count of replies, stops while Redis replies to new connections."""
    loop = asyncio.get_running_loop()
    watching: list[asyncio.Task[None]] = []
    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(SILENCE, lambda: watching.append(loop.create_task(_watch(client, heard, limit))))
        try:
            yield
        finally:
            timer.cancel()
            for task in watching:
                task.cancel()


async def _watch(client: Redis, heard: Callable[[], int], limit: asyncio.Timeout) -> None:
    while True:
        before = heard()
        if await _answers(client):
            await asyncio.sleep(CONFIRM)
            if await _answers(client) and heard() == before:
                return limit.reschedule(asyncio.get_running_loop().time())
        await asyncio.sleep(SILENCE)


async def _answers(client: Redis) -> bool:
    """Whether Redis replies over a new connection."""
    wire = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await wire.connect()
            await wire.send_command("PING")
            await wire.read_response()
    except Exception:  # of any class: there is no reply
        return False
    finally:
        await hang_up(wire)
    return True
