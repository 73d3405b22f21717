"""The swarm's clock, kept by `scripts/_clock.lua` and measured by every worker: no clock that steps harms it."""

from __future__ import annotations

import asyncio
import math
import time

from swarm.broker.connection import Connection

WINDOW_MS = 10_000.0
"""Within one to two of these, a worker's own clock is taken for exact."""
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps."""


class Measured:
    """The time of the swarm's clock as this process measures it from what it last heard, in milliseconds."""

    def __init__(self) -> None:
        self._since = self._former = self._lead = -math.inf

    def heard(self, now: float) -> None:
        """It was `now` when Redis answered, at the latest a moment ago."""
        own = _own_ms()
        if own - self._since > WINDOW_MS:
            self._former, self._lead, self._since = self._lead, now - own, own
        else:
            self._lead = max(self._lead, now - own)

    def now(self) -> str:
        """What time it is, at least; empty as long as nothing was heard."""
        lead = max(self._former, self._lead)
        return "" if lead == -math.inf else str(int(lead + _own_ms()))


async def now_ms(connection: Connection) -> float:
    """The time of the swarm's clock in milliseconds."""
    (seconds, micros), (last, ahead) = await asyncio.gather(
        connection.call("TIME"), connection.call("HMGET", f"{connection.keys.prefix}:seen", "clock", "ahead")
    )
    return max(float(last or 0), int(seconds) * 1000 + int(micros) / 1000 + float(ahead or 0))


def _own_ms() -> float:
    return time.clock_gettime(_BOOT) * 1000
