"""Tell a connection that died without a word from a Redis that is slow.

Behind a router or a firewall that forgot a connection nobody hangs up and nothing arrives. So when a connection has
been silent for a moment, a new one is asked: if Redis answers there, the old one is given up; if it does not, it is
slow for all, and whoever waits waits on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from redis.asyncio import Redis

from swarm.broker.address import CONNECT_TIMEOUT
from swarm.broker.connection_errors import hang_up

SILENCE = 2.0
"""Seconds without an answer after which Redis is asked over a new connection; longer than any WAIT for a replica."""


@contextlib.asynccontextmanager
async def watched(client: Redis, heard: Callable[[], int]) -> AsyncIterator[None]:
    """Raise TimeoutError in the block when `heard`, a count of answers, stands still while Redis answers another."""
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
        if await _answers(client) and heard() == before:
            return limit.reschedule(asyncio.get_running_loop().time())
        await asyncio.sleep(SILENCE)


async def _answers(client: Redis) -> bool:
    """Whether Redis answers over a new connection."""
    wire = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await wire.connect()
            await wire.send_command("PING")
            await wire.read_response()
    except Exception:  # of whatever class: there is no answer
        return False
    finally:
        await hang_up(wire)
    return True
