"""Plans of earlier requests in Redis, as bytes, by tenant and catalog version, newest last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.broker.connection import Connection
from swarm.broker.keys import PLANS_KEPT

LIFETIME = 7 * 86_400.0
"""Seconds that a tenant's plans are kept after their last use."""
MAX_ENTRY = 16_384
"""Bytes of one request with its plan."""
FIRST = "0-0"
"""Position before all entries."""


@dataclass(frozen=True, slots=True)
class CacheCount:
    """Recent hits and misses of the plan cache, over all processes."""

    hits: int = 0
    misses: int = 0


class PlanStore:
    """Keeps at most PLANS_KEPT plans of each tenant and version. Every method raises BrokerError."""

    def __init__(self, connection: Connection, lifetime: float = LIFETIME) -> None:
        self._connection, self._lifetime_ms = connection, round(lifetime * 1000)

    async def add(self, tenant: str, version: str, entry: bytes) -> bool:
        """Add one entry and drop the oldest beyond the cap; False if the entry is too long."""
        if len(entry) > MAX_ENTRY:
            return False
        await self._connection.script("keep_plan", tenant, version, PLANS_KEPT, self._lifetime_ms, entry)
        return True

    async def since(self, tenant: str, version: str, place: str) -> tuple[int, list[tuple[str, bytes]]]:
        """Return the number of entries, and those after `place`, each with its place. Renews their lifetime."""
        count, *raw = await self._connection.script("ask_plans", tenant, version, place, PLANS_KEPT, self._lifetime_ms)
        return int(count), [(at.decode(), bytes(entry)) for at, entry in zip(raw[::2], raw[1::2], strict=True)]

    async def count(self, *, hit: bool) -> CacheCount:
        """Count one hit or miss; return the counts."""
        return _counted(await self._connection.script("count_plan", "hits" if hit else "misses", self._lifetime_ms))

    async def counted(self) -> CacheCount:
        return _counted(await self._connection.call("HMGET", self._connection.keys.plan_count, "hits", "misses"))


def _counted(raw: Sequence[bytes | None]) -> CacheCount:
    return CacheCount(*(int(count or 0) for count in raw))
