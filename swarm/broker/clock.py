"""Clock shared by all processes, kept in Redis by `scripts/_clock.lua`; steps of a machine's clock do not move it."""

from __future__ import annotations

import asyncio
import math
import time

from swarm.broker.connection import Connection

WINDOW_MS = 10_000.0
"""Length of a measuring period. A worker trusts the speed of its own clock for one to two of them."""
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Clock that also counts while the machine sleeps."""


class MeasuredClock:
    """Shared time in milliseconds, extrapolated by this process from the last replies of Redis."""

    def __init__(self) -> None:
        self._since = self._former = self._lead = -math.inf

    def heard(self, now: float) -> None:
        """Note the shared time `now` from a reply that has just arrived."""
        own = _own_ms()
        if own - self._since > WINDOW_MS:
            self._former, self._lead, self._since = self._lead, now - own, own
        else:
            self._lead = max(self._lead, now - own)

    def now(self) -> str:
        """Return a lower bound of the shared time; empty before the first reply."""
        lead = max(self._former, self._lead)
        return "" if lead == -math.inf else str(int(lead + _own_ms()))


async def now_ms(connection: Connection) -> float:
    """Read the shared clock, in milliseconds."""
    (seconds, micros), (last, ahead) = await asyncio.gather(
        connection.call("TIME"), connection.call("HMGET", f"{connection.keys.prefix}:seen", "clock", "ahead")
    )
    return max(float(last or 0), int(seconds) * 1000 + int(micros) / 1000 + float(ahead or 0))


def _own_ms() -> float:
    return time.clock_gettime(_BOOT) * 1000
