"""Time limits of one model call: for all of it, for its first token, and between tokens. Pure.

The smaller of the caller's and the endpoint's limit applies; the error names the one that ran out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from swarm.llm.endpoint_config import Timeouts

ROOM = 0.95
"""The share of the time left that connecting may take. Giving up before the end shows that nothing was sent, so that
nothing is charged."""


@dataclass(slots=True)
class CallTimeouts:
    """The time limits of one call. All moments are of one clock, also the `now` of each method."""

    timeouts: Timeouts
    seconds: float
    """For the whole call."""
    end: float
    own: bool
    """Whether the limit of the whole call is the endpoint's and not the caller's."""
    _token: float = math.inf
    _waits_for: Literal["", "first_token", "between_tokens"] = ""

    @classmethod
    def of(cls, timeouts: Timeouts, timeout: float, now: float) -> CallTimeouts:
        own = timeouts.total is not None and timeouts.total < timeout
        seconds = min(timeout, timeouts.total or math.inf)
        return cls(timeouts, seconds, now + seconds, own)

    @property
    def until(self) -> float:
        """When to give up unless something arrives before."""
        return min(self.end, self._token)

    def left(self, now: float) -> float:
        return max(0.001, self.end - now)

    def connect(self, now: float) -> float:
        """Seconds for a connection to a server."""
        return min(self.timeouts.connect, self.free(now))

    def free(self, now: float) -> float:
        """Seconds to wait for a free connection of the endpoint."""
        return max(0.001, ROOM * (self.until - now))

    def sends(self, now: float, *, streamed: bool) -> None:
        """Note that a request is sent."""
        self._wait(self.timeouts.first_token if streamed else None, "first_token", now)

    def came(self, now: float) -> None:
        """Note that a piece of a streamed answer arrived."""
        self._wait(self.timeouts.between_tokens, "between_tokens", now)

    def late(self, endpoint: str) -> str:
        """The message for a timeout at `until`: what did not arrive in time."""
        seconds, limit = self._limit()
        what = {"first_token": "no first token", "between_tokens": "no further token"}.get(limit, "no answer")
        return f"{what} {_within(seconds, limit, endpoint)}"

    def unconnected(self, endpoint: str) -> str:
        """The message for a connection timeout: how long the call waited."""
        seconds, limit = self._limit()
        connect = self.timeouts.connect
        return _within(*((connect, "connect") if connect < ROOM * seconds else (seconds, limit)), endpoint)

    def _limit(self) -> tuple[float, str]:
        """The limit that ends at `until` in seconds, and its name in the endpoint's settings; empty: the caller's."""
        if self._waits_for and self._token < self.end:
            return getattr(self.timeouts, self._waits_for), self._waits_for
        return self.seconds, "total" if self.own else ""

    def _wait(self, seconds: float | None, name: Literal["first_token", "between_tokens"], now: float) -> None:
        self._token, self._waits_for = (math.inf, "") if seconds is None else (now + seconds, name)


def _within(seconds: float, limit: str, endpoint: str) -> str:
    whose = f" (timeouts.{limit} of the endpoint {endpoint!r})" if limit else ""
    return f"within {round(seconds, 2) or seconds:g} s{whose}"
