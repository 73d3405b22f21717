"""The queues that one lane of a worker serves, in the form in which its claims and its waits send them.

A catalog may have thousands of experts, and there is a claim and a wait for every delivery: the names are put together
once, and are one argument of a claim, in which the script looks for the few queues that hold deliveries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from swarm.broker.keys import Keys


class Served:
    """Queues in order, and the gates (see limiters.py) of those that have some."""

    def __init__(self, queues: Sequence[str], gates: Mapping[str, str] | None = None) -> None:
        self.queues, self.gates = tuple(queues), dict(gates or {})
        lines = [f"{queue} {self.gates.get(queue, '')}".encode() for queue in self.queues]
        self._places = list(accumulate((len(line) + 1 for line in lines), initial=1))
        self.text = b"\n" + b"\n".join(lines) + b"\n"
        """A line for each queue: NAME GATE GATE ..."""
        self._lists: tuple[str, ...] = ()

    def place(self, number: int) -> int:
        """Where in `text` the line of a queue begins, as Lua counts.

        >>> Served(["run:a", "run:b"]).place(1)
        8
        """
        return self._places[number]

    def lists(self, keys: Keys) -> tuple[str, ...]:
        """The wake lists of the queues: always the same value, so that what is made of it can be kept."""
        if len(self._lists) != len(self.queues):
            self._lists = tuple(keys.queue(name, "wake") for name in self.queues)
        return self._lists
