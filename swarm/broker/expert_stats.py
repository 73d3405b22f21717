"""Statistics of experts in Redis: time and cost of their attempts, summed over all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from swarm.broker.connection import Connection
from swarm.engine.estimate import BUCKETS, ExpertStats

LIFETIME = 30 * 86_400
"""Seconds that statistics are kept after the expert's last run."""
EXPERTS_KEPT = 1_000
"""Experts with statistics, at most: those that ran last."""

SUMS = ("attempts", "solved", "calls", "input_tokens", "output_tokens", "cost")


class Stats:
    """Statistics of experts under one prefix."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Add to the fields of each expert, in one call. It is not idempotent, so a failed call is not retried."""
        if not counts:
            return
        args: list[str | int] = []
        for name, fields in counts.items():
            args += [name, len(fields), *(part for item in fields.items() for part in item)]
        await self._connection.script("stats", LIFETIME * 1000, EXPERTS_KEPT, len(counts), *args)

    async def stats(self, names: Iterable[str]) -> dict[str, ExpertStats]:
        """Return the statistics of these experts; experts without any are left out."""
        wanted = list(dict.fromkeys(names))
        keys = self._connection.keys
        raw = await asyncio.gather(*(self._connection.call("HGETALL", keys.stats(name)) for name in wanted))
        return {name: _read(item) for name, item in zip(wanted, raw, strict=True) if item}


def time_field(bucket: int) -> str:
    """Name of the field that counts the solved attempts of a time bucket, see `swarm.engine.estimate.bucket`."""
    return f"t{bucket}"


_TIMES = {time_field(number): number for number in range(BUCKETS)}


def _read(raw: list[bytes]) -> ExpertStats:
    """Parse the fields; skip those that only a newer version knows."""
    fields = {name.decode(): int(value) for name, value in zip(raw[::2], raw[1::2], strict=True)}
    sums = {name: fields.get(name, 0) for name in SUMS}
    times = {_TIMES[name]: count for name, count in fields.items() if name in _TIMES}
    return ExpertStats.model_validate(sums | {"times": times})
