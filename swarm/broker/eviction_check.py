"""Refusal of a Redis that evicts keys when its memory is full: accepted jobs would vanish without an ending."""

from __future__ import annotations

import time

from swarm.broker.connection import Connection
from swarm.errors import BrokerDenied, BrokerEvicts

LOOK_AGAIN = 60.0
"""Seconds after which the policy is read again."""


class EvictionCheck:
    """Checks maxmemory and its policy; again after LOOK_AGAIN seconds or a reconnect."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen, self._at = -1, 0.0
        self.maxmemory = 0
        """Bytes, as last read; 0: no limit, or this user may not read it."""

    async def check(self) -> None:
        """Raise BrokerEvicts if keys may be evicted. A user without the right to read the policy passes."""
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
