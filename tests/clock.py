"""The clock that all processes of a swarm share, in the hand of a test: it can be moved on, and made to stand still.

A test of times that a claim, a limiter or a breaker is told would else depend on how long the machine takes between two
calls.
"""

from __future__ import annotations

import hashlib
from functools import cache

import pytest

from swarm.broker import connection as connections
from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection

OWN = "local t = call('TIME')\n  return t[1] * 1000 + t[2] / 1000"
HELD = "return tonumber(call('INCRBYFLOAT', 'held:' .. P, 0.01))"
"""As the order of what is enqueued is the order of times, each script is 10 microseconds after the one before."""
_source = connections.source


async def pass_time(connection: Connection, seconds: float) -> None:
    """Let so many seconds pass at once: deadlines and delays within them are due, and leases that end in them are lost.

    Nobody is told of it: a worker in its wait looks at the clock within half a second.
    """
    seen = f"{connection.keys.prefix}:seen"
    await connection.call("HSET", seen, "clock", f"{await now_ms(connection) + seconds * 1000:.3f}")


class HeldClock:
    """The clock of one prefix that stands still for every script of this process. It shows the time of its making."""

    def __init__(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self._connection, self._key = connection, f"held:{connection.keys.prefix}"
        monkeypatch.setattr(connections, "source", _held_source)
        monkeypatch.setattr(connections, "digest", _held_digest)

    async def start(self) -> None:
        await self._connection.call("SET", self._key, f"{await now_ms(self._connection):.0f}", "EX", 3_600)

    async def now(self) -> float:
        """The time in milliseconds."""
        seen = f"{self._connection.keys.prefix}:seen"
        last, ahead = await self._connection.call("HMGET", seen, "clock", "ahead")
        own = float(await self._connection.call("GET", self._key))
        return max(float(last or 0), own + float(ahead or 0))

    async def move_on(self, seconds: float) -> None:
        await self._connection.call("INCRBYFLOAT", self._key, seconds * 1000)


@cache
def _held_source(name: str) -> str:
    text = _source(name)
    assert text.count(OWN) == 1, "the scripts read the time of Redis in another way now"
    return text.replace(OWN, HELD)


@cache
def _held_digest(name: str) -> str:
    return hashlib.sha1(_held_source(name).encode(), usedforsecurity=False).hexdigest()
