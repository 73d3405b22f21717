"""Statistics of the experts of this process: counted in memory, added to those in Redis every few seconds.

No subtask waits for a flush or costs a call of its own. A killed process loses the counts since its last flush, which
nothing but statistics depends on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Self

from swarm import logging as events
from swarm.broker.expert_stats import EXPERTS_KEPT, Stats, time_field
from swarm.engine.estimate import bucket
from swarm.errors import BrokerError
from swarm.types.result import Outcome, Solution

EVERY = 2.0
"""Seconds from the first outcome after a flush to the next flush."""
LAST = 1.0
"""Seconds that the last flush may take when the process ends."""

_log = events.get_logger("worker")


class StatsBuffer:
    """Counts outcomes and flushes them to Redis. An async context manager; it flushes once more at its end."""

    def __init__(self, stats: Stats, every: float = EVERY) -> None:
        self._stats, self._every = stats, every
        self._counts: dict[str, Counter[str]] = {}
        self._flushing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST):
                await self._flush()
        except TimeoutError:
            _log.debug(events.STATS_LOST, error="Redis did not answer in time")

    def record(self, expert: str, outcome: Outcome, ms: int) -> None:
        """Count one attempt that took `ms` milliseconds."""
        counts = self._counts.get(expert)
        if counts is None:
            if len(self._counts) >= EXPERTS_KEPT:
                return  # no process serves so many at once; the next flush makes room
            counts = self._counts[expert] = Counter()
        counts["attempts"] += 1
        if isinstance(outcome, Solution):
            counts["solved"] += 1
            counts[time_field(bucket(ms))] += 1
        used = outcome.usage
        if used.calls:
            counts["calls"] += used.calls
            counts["input_tokens"] += used.input_tokens
            counts["output_tokens"] += used.output_tokens
            counts["cost"] += used.cost
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._later())

    async def _later(self) -> None:
        while self._counts:
            await asyncio.sleep(self._every)
            await self._flush()

    async def _flush(self) -> None:
        """Add the counts to Redis. They are lost if that fails: trying again might count them twice."""
        counts, self._counts = self._counts, {}
        try:
            await self._stats.add(counts)
        except BrokerError as error:
            _log.debug(events.STATS_LOST, experts=len(counts), error=str(error))
