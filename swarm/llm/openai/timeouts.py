"""How long one call waits for what: for the whole of it, and for each token. Pure.

The caller's time and that of the endpoint both hold, so the smaller one does; what ran out is named in the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from swarm.llm.endpoint_config import Timeouts

ROOM = 0.95
"""The share of the time left after which a connection that is not there is given up: so it shows that nothing was
sent, and nothing is charged for it."""


@dataclass(slots=True)
class CallTimeouts:
    """The time limits of one call. Moments are those of one clock, `now` of each method too."""

    timeouts: Timeouts
    seconds: float
    """For the whole call."""
    end: float
    own: bool
    """That the limit of the whole call is the endpoint's and not the caller's."""
    _token: float = math.inf
    _waits_for: Literal["", "first_token", "between_tokens"] = ""

    @classmethod
    def of(cls, timeouts: Timeouts, timeout: float, now: float) -> CallTimeouts:
        own = timeouts.total is not None and timeouts.total < timeout
        seconds = min(timeout, timeouts.total or math.inf)
        return cls(timeouts, seconds, now + seconds, own)

    @property
    def until(self) -> float:
        """When to give up, if nothing comes before."""
        return min(self.end, self._token)

    def left(self, now: float) -> float:
        return max(0.001, self.end - now)

    def connect(self, now: float) -> float:
        """Seconds for a connection to a server."""
        return min(self.timeouts.connect, self.free(now))

    def free(self, now: float) -> float:
        """Seconds until one of the endpoint's connections is free."""
        return max(0.001, ROOM * (self.until - now))

    def sends(self, now: float, *, streamed: bool) -> None:
        """A request goes out."""
        self._wait(self.timeouts.first_token if streamed else None, "first_token", now)

    def came(self, now: float) -> None:
        """A piece of a streamed answer is here."""
        self._wait(self.timeouts.between_tokens, "between_tokens", now)

    def late(self, endpoint: str) -> str:
        """What did not come in time, at `until`."""
        seconds, limit = self._limit()
        what = {"first_token": "no first token", "between_tokens": "no further token"}.get(limit, "no answer")
        return f"{what} {_within(seconds, limit, endpoint)}"

    def unconnected(self, endpoint: str) -> str:
        """How long a connection was waited for."""
        seconds, limit = self._limit()
        connect = self.timeouts.connect
        return _within(*((connect, "connect") if connect < ROOM * seconds else (seconds, limit)), endpoint)

    def _limit(self) -> tuple[float, str]:
        """The seconds that end at `until`, and which of the endpoint's limits they are; empty: the caller's."""
        if self._waits_for and self._token < self.end:
            return getattr(self.timeouts, self._waits_for), self._waits_for
        return self.seconds, "total" if self.own else ""

    def _wait(self, seconds: float | None, name: Literal["first_token", "between_tokens"], now: float) -> None:
        self._token, self._waits_for = (math.inf, "") if seconds is None else (now + seconds, name)


def _within(seconds: float, limit: str, endpoint: str) -> str:
    whose = f" (timeouts.{limit} of the endpoint {endpoint!r})" if limit else ""
    return f"within {round(seconds, 2) or seconds:g} s{whose}"
