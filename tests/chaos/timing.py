"""How fast it must be: bounds that grow with what was broken meanwhile, and with how slow the machine was.

A bound is what is promised on a sound machine, once more for each fault of a process that may have had the work, plus
the time that other faults cover, plus SLACK times what the machine kept processes waiting (`stalls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
ALIKE = 0.05
"""Seconds by which clocks of one machine may differ in what they round."""


@dataclass(frozen=True)
class Timeline:
    """What happened besides the work."""

    struck: Sequence[Struck] = ()
    stalls: Sequence[Stall] = ()

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
        took, most = ended - begun, self.allowed(promise, begun, ended, role)
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

    def real(self, redis_ms: float, after: float = 0.0) -> float:
        """The machine's time of something that Redis dated, not before `after`; the first of several that may be."""
        return self.candidates(redis_ms, after)[0]

    def between(self, begun_ms: float, ended_ms: float) -> float:
        """The least of the machine's seconds that may lie between two times of Redis, less those that faults took."""
        pairs = ((one, two) for one in self.candidates(begun_ms) for two in self.candidates(ended_ms) if one <= two)
        return min(
            (two - one - self.covered(one, two) - SLACK * waited(self.stalls, one, two) for one, two in pairs),
            default=0.0,
        )

    def candidates(self, redis_ms: float, after: float = 0.0) -> list[float]:
        """Every time of the machine at which Redis' clock may have said so: it was set back and forth."""
        steps = [each for each in self.struck if each.kind == "clock"]
        begins = [0.0, *(each.at for each in steps)]
        ends = [*(each.at for each in steps), float("inf")]
        offsets = [0.0, *(float(each.target) for each in steps)]
        told = redis_ms / 1000
        found = [
            told - offset
            for begin, end, offset in zip(begins, ends, offsets, strict=True)
            if max(begin, after) - ALIKE <= told - offset <= end + ALIKE
        ]
        return sorted(found) or [told - offsets[-1]]
