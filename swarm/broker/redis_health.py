"""How Redis itself does: its figures, what it keeps through a crash, how quick it is, and what time it has."""

from __future__ import annotations

import time
from dataclasses import dataclass

from swarm.broker.connection import Connection
from swarm.broker.snapshot import memory_of
from swarm.broker.snapshot_types import Memory
from swarm.errors import BrokerError

LOOKS = 5
"""Pings, of which the quickest tells how far away it is."""


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """What a look at Redis told."""

    memory: Memory
    appends: str | None
    """appendfsync; None: this user may not know."""
    latency: float
    """Seconds for an answer."""
    ahead: float
    """Seconds by which its clock is ahead of ours; negative: behind."""


async def vitals(connection: Connection) -> RedisHealth:
    """Look. Nothing is written. Raises BrokerErrors."""
    memory = await memory_of(connection)
    times = []
    for _ in range(LOOKS):
        begun = time.perf_counter()
        await connection.call("PING")
        times.append(time.perf_counter() - begun)
    seconds, micros = await connection.call("TIME")
    ahead = int(seconds) + int(micros) / 1_000_000 - time.time()
    return RedisHealth(memory, await _appends(connection), min(times), ahead)


async def _appends(connection: Connection) -> str | None:
    """Only an administrator may read the configuration, which has passwords in it."""
    try:
        found = await connection.call("CONFIG", "GET", "appendfsync")
    except BrokerError:
        return None
    return found[1].decode() if len(found) == 2 else None
