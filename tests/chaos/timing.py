"""How fast it must be: bounds that grow with what was broken meanwhile, and with how slow the machine was.

A bound is what is promised on a sound machine, once more for each fault of a process that may have had the work, plus
the time that other faults cover, plus SLACK times what the machine kept processes waiting (`stalls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.clock import ALIKE, Span
from tests.chaos.faults import Struck
from tests.chaos.stalls import Stall, waited

PROMISE = 2.5
"""Seconds in which what a process held is taken over."""
TURN = 5.0
"""Seconds until a slot is free for what is run again: an attempt's greatest time, where all slots are taken."""
TOLD = 8.0
"""Seconds from an ending until its caller knows: a caller looks at least every five."""
SLACK = 2.0
"""How often work that crosses the processes waits for the machine, where a probe waits once."""
AFTER = {"redis": 3.0, "net": 1.0, "stall": 0.25, "fsync": 1.0, "clock": 1.0}
"""Seconds that the wake of a fault lasts. Of one that is not here nothing is covered."""
PROCESS = ("kill", "term", "stop")
SET_OFF = 1.0
"""Seconds around the setting of a clock in which it may be seen in the dates of events, and by how many at most."""


@dataclass(frozen=True)
class Timeline:
    """What happened besides the work."""

    struck: Sequence[Struck] = ()
    stalls: Sequence[Stall] = ()
    clock: Sequence[Span] = ()
    """How far the clock by which events are dated was ahead of the machine's."""

    def near(self, kinds: Iterable[str], begun: float, ended: float, wake: float = 0.0) -> list[Struck]:
        """Faults of these kinds that were, or had just been, under way between two times."""
        return [
            each for each in self.struck if each.kind in kinds and each.at - wake < ended and each.until + wake > begun
        ]

    def allowed(self, promise: float, begun: float, ended: float, role: str = "") -> float:
        """Seconds that something may take which ran from `begun` to `ended`, in processes of `role`."""
        hit = [each for each in self.near(PROCESS, begun, ended) if role and each.target.startswith(role)]
        return promise + PROMISE * len(hit) + self.covered(begun, ended) + SLACK * waited(self.stalls, begun, ended)

    def late(self, promise: float, begun: float, ended: float, role: str = "") -> str:
        """Why it took too long, in words; empty if it did not."""
        if (took := ended - begun) <= promise:
            return ""
        most = self.allowed(promise, begun, ended, role)
        return f"{took:.1f} s, at most {most:.1f} s are allowed" if took > most else ""

    def covered(self, begun: float, ended: float) -> float:
        """Seconds between two times in which Redis, the way to it or its clock was disturbed."""
        spans = sorted((each.at, each.until + AFTER[each.kind]) for each in self.struck if each.kind in AFTER)
        total, reached = 0.0, begun
        for at, until in spans:
            start, end = max(at, reached), min(until, ended)
            if end > start:
                total, reached = total + end - start, end
        return total

    def real(self, swarm_ms: float, after: float = 0.0) -> float:
        """The machine's time of an event, not before `after`; the first of several that may be."""
        return self.candidates(swarm_ms, after)[0]

    def between(self, begun_ms: float, ended_ms: float) -> float:
        """The least of the machine's seconds that may lie between two events, less those that faults took."""
        pairs = ((one, two) for one in self.candidates(begun_ms) for two in self.candidates(ended_ms) if one <= two)
        return min(
            (two - one - self.covered(one, two) - SLACK * waited(self.stalls, one, two) for one, two in pairs),
            default=0.0,
        )

    def candidates(self, swarm_ms: float, after: float = 0.0) -> list[float]:
        """Every time of the machine, not before `after`, at which the swarm's clock may have said so."""
        told = swarm_ms / 1000
        found = [
            told - span.ahead
            for span in self.clock
            if max(span.begun, after) - ALIKE <= told - span.ahead <= span.ended + ALIKE
        ]
        return sorted(set(found)) or [told - self.clock[-1].ahead if self.clock else told]

    def rounding(self, at: float) -> float:
        """Seconds by which the date of an event may be off: more where a clock was just set and nobody noticed yet."""
        return SET_OFF if self.near(["clock"], at, at, SET_OFF) else ALIKE
