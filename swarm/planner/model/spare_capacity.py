"""Whether subtasks may begin while their plan is still being written: not where they would take a server's last slot.

The finished plan may reject what has begun. On a server with room that costs little; on one whose only slot it took, it
costs the time of everybody. How many slots there are the limit of the endpoint says, else the planner's own call:
a server that was slow to begin has no room.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from swarm.types.card import Card
from swarm.types.plan import Subtask

SLOW = 3.0
"""Seconds to the first word of a plan from which a server counts as busy."""

Slots = Callable[[str], int | None]
"""How many calls an endpoint takes at once; None: nobody knows."""


def unknown(endpoint: str) -> int | None:
    return None


class SpareCapacity:
    """What may begin beside one planner's call of the model `planner`."""

    def __init__(self, planner: str, slots: Slots, clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoint, self._slots, self._clock = _endpoint(planner), slots, clock
        self._asked = self._heard = 0.0
        self._taken = 1
        self._held: set[str] = set()

    def asks(self) -> None:
        """The planner's call begins."""
        self._asked, self._heard = self._clock(), 0.0

    def hears(self) -> None:
        """A word of the plan is here."""
        self._heard = self._heard or self._clock()

    def of(self, ready: Sequence[Subtask], cards: Mapping[str, Card]) -> tuple[Subtask, ...]:
        """Those of `ready` that may begin. What waits for one that may not waits too."""
        return tuple(self._beginning(ready, cards))

    def _beginning(self, ready: Sequence[Subtask], cards: Mapping[str, Card]) -> Iterator[Subtask]:
        for subtask in ready:
            if self._held.isdisjoint(subtask.depends_on) and self._takes(cards[subtask.expert]):
                yield subtask
            else:
                self._held.add(subtask.id)

    def _takes(self, card: Card) -> bool:
        """Take a slot for one subtask, if one is left for others even then."""
        if self._endpoint not in _endpoints(card):
            return True
        slots = self._slots(self._endpoint)
        if slots is None:
            return self._heard - self._asked < SLOW
        self._taken += 1
        if self._taken < slots:
            return True
        self._taken -= 1
        return False


def _endpoints(card: Card) -> Collection[str]:
    return {_endpoint(card.model), *map(_endpoint, card.fallback_models)}


def _endpoint(model: str) -> str:
    return model.partition("/")[0]
