"""Records of experts in Redis: what their attempts took and cost, added up over all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from swarm.broker.connection import Connection
from swarm.engine.estimate import BUCKETS, ExpertStats

LIFETIME = 30 * 86_400
"""Seconds that a record is kept after the expert's last run."""
EXPERTS_KEPT = 1_000
"""Experts on record at once: those that ran last."""

SUMS = ("attempts", "solved", "calls", "input_tokens", "output_tokens", "cost")


class Stats:
    """The records under one prefix."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Add to the fields of each expert, in one call. Not idempotent: what may have arrived is not sent again."""
        if not counts:
            return
        args: list[str | int] = []
        for name, fields in counts.items():
            args += [name, len(fields), *(part for item in fields.items() for part in item)]
        await self._connection.script("stats", LIFETIME * 1000, EXPERTS_KEPT, len(counts), *args)

    async def stats(self, names: Iterable[str]) -> dict[str, ExpertStats]:
        """What is on record of these experts; one without a record is left out."""
        wanted = list(dict.fromkeys(names))
        keys = self._connection.keys
        raw = await asyncio.gather(*(self._connection.call("HGETALL", keys.stats(name)) for name in wanted))
        return {name: _read(item) for name, item in zip(wanted, raw, strict=True) if item}


def time_field(bucket: int) -> str:
    """The field that counts solved attempts of a time, see `swarm.engine.estimate.bucket`."""
    return f"t{bucket}"


_TIMES = {time_field(number): number for number in range(BUCKETS)}


def _read(raw: list[bytes]) -> ExpertStats:
    """Fields that only a newer process knows are passed over."""
    fields = {name.decode(): int(value) for name, value in zip(raw[::2], raw[1::2], strict=True)}
    sums = {name: fields.get(name, 0) for name in SUMS}
    times = {_TIMES[name]: count for name, count in fields.items() if name in _TIMES}
    return ExpertStats.model_validate(sums | {"times": times})
