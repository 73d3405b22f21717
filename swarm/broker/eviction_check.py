"""Refusing a Redis that drops keys when its memory is full: accepted jobs would vanish without an ending."""

from __future__ import annotations

import time

from swarm.broker.connection import Connection
from swarm.errors import BrokerDenied, BrokerEvicts

LOOK_AGAIN = 60.0
"""Seconds after which the policy is looked at again."""


class EvictionCheck:
    """Looks at maxmemory and its policy, again after LOOK_AGAIN seconds or over a new connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen, self._at = -1, 0.0
        self.maxmemory = 0
        """Bytes, as last seen; 0: none is set, or this user may not know."""

    async def check(self) -> None:
        """Raises BrokerEvicts where keys may be evicted. A user who may not know is not refused."""
        now, made = time.monotonic(), self._connection.made
        if made == self._seen and now - self._at < LOOK_AGAIN:
            return
        try:
            raw = await self._connection.call("INFO", "memory")
        except BrokerDenied:
            raw = b""
        said = dict(line.split(":", 1) for line in raw.decode(errors="replace").splitlines() if ":" in line)
        policy = said.get("maxmemory_policy", "noeviction")
        self.maxmemory = int(said.get("maxmemory", 0))
        if self.maxmemory and policy != "noeviction":
            raise BrokerEvicts(self._connection.where, policy)
        self._seen, self._at = self._connection.made, now
