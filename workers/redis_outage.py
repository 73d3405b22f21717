"""Waiting for a Redis that is away: which errors pass, how long to pause, and repeating a call until it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from swarm import logging as events
from swarm.errors import BrokerError, BrokerFull, BrokerReadOnly, BrokerUnavailable, BrokerUntrusted

LONGEST_PAUSE = 1.0
"""Seconds between two tries, at most."""
TRANSIENT = (BrokerUnavailable, BrokerReadOnly, BrokerFull, BrokerUntrusted)
"""Errors that end when Redis is back."""

_log = events.get_logger("worker")
T = TypeVar("T")


class RedisOutage:
    """Record whether the claims of a worker reach Redis; log when they cease to and when they do again."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._since: float | None = None

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def failed(self, error: BrokerError) -> float:
        """Record a claim that failed; return the seconds until the next try, more the longer the outage lasts."""
        if self._since is None:
            self._since = time.monotonic()
            _log.warning(events.REDIS_AWAY, worker=self._worker, error=str(error))
        return min(LONGEST_PAUSE, 0.05 + (time.monotonic() - self._since) / 10)

    def ended(self) -> None:
        """Record that Redis answers. Safe to repeat."""
        if self._since is not None:
            _log.info(events.REDIS_BACK, worker=self._worker, seconds=round(time.monotonic() - self._since, 3))
            self._since = None


async def retry_while_down(call: Callable[[], Awaitable[T]], gives_up: Callable[[], bool]) -> T:
    """Repeat an idempotent call until Redis answers. Raises the last error once `gives_up` returns True."""
    pause = 0.05
    while True:
        try:
            return await call()
        except TRANSIENT:
            if gives_up():
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
