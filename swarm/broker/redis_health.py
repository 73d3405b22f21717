"""Health of Redis itself: memory, persistence, latency and clock."""

from __future__ import annotations

import time
from dataclasses import dataclass

from swarm.broker.connection import Connection
from swarm.broker.snapshot import memory_of
from swarm.broker.snapshot_types import Memory
from swarm.errors import BrokerError

LOOKS = 5
"""Number of pings; the fastest is the latency."""


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """Health figures of Redis at one moment."""

    memory: Memory
    appends: str | None
    """Value of appendfsync; None: this user may not read it."""
    latency: float
    """Seconds of a round trip."""
    ahead: float
    """Seconds by which its clock is ahead of ours; negative: behind."""


async def measure_health(connection: Connection) -> RedisHealth:
    """Measure the health of Redis; nothing is written. Raises BrokerErrors."""
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
    """Read appendfsync; None without the right to, since the configuration contains passwords."""
    try:
        found = await connection.call("CONFIG", "GET", "appendfsync")
    except BrokerError:
        return None
    return found[1].decode() if len(found) == 2 else None
