"""Queues that one lane of a worker serves, encoded once for its claims and waits.

A catalog may have thousands of experts, and every delivery needs a claim and a wait. So the names are joined once and
sent as one argument, in which the claim script finds the few queues that hold deliveries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from swarm.broker.keys import Keys


class ServedQueues:
    """Queues in order, with their limiters (see limiters.py)."""

    def __init__(self, queues: Sequence[str], limiters: Mapping[str, str] | None = None) -> None:
        self.queues, self.limiters = tuple(queues), dict(limiters or {})
        lines = [f"{queue} {self.limiters.get(queue, '')}".encode() for queue in self.queues]
        self._places = list(accumulate((len(line) + 1 for line in lines), initial=1))
        self.text = b"\n" + b"\n".join(lines) + b"\n"
        """A line for each queue: NAME LIMITER LIMITER ..."""
        self._lists: tuple[str, ...] = ()

    def place(self, number: int) -> int:
        """Return the position in `text` of a queue's line, counted from 1 as in Lua.

        >>> ServedQueues(["run:a", "run:b"]).place(1)
        8
        """
        return self._places[number]

    def lists(self, keys: Keys) -> tuple[str, ...]:
        """Return the wake lists of the queues: always the same object, so that callers may cache by it."""
        if len(self._lists) != len(self.queues):
            self._lists = tuple(keys.queue(name, "wake") for name in self.queues)
        return self._lists
