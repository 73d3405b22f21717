"""Decide whether subtasks may begin while the model writes their plan, without taking a server's last free slot.

The finished plan may discard a subtask that has begun. That costs little on a server with free slots, but delays all
other calls on one without. The number of slots is the endpoint's limit. Without a limit the planning call itself shows
it: a server that was slow to begin has no room.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from swarm.types.card import Card
from swarm.types.plan import Subtask

SLOW = 3.0
"""Seconds to the first token of a plan from which a server counts as busy."""

Slots = Callable[[str], int | None]
"""Returns how many calls an endpoint takes at once; None if that is unknown."""


def unknown(endpoint: str) -> int | None:
    return None


class SpareCapacity:
    """Decides which subtasks may begin beside one planning call of the model `planner`."""

    def __init__(self, planner: str, slots: Slots, clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoint, self._slots, self._clock = _endpoint(planner), slots, clock
        self._asked = self._heard = 0.0
        self._taken = 1
        self._held: set[str] = set()

    def asks(self) -> None:
        """Record that the planning call begins."""
        self._asked, self._heard = self._clock(), 0.0

    def hears(self) -> None:
        """Record that text of the plan has arrived."""
        self._heard = self._heard or self._clock()

    def of(self, ready: Sequence[Subtask], cards: Mapping[str, Card]) -> tuple[Subtask, ...]:
        """Return those of `ready` that may begin. A subtask that depends on one that may not is held back too."""
        return tuple(self._beginning(ready, cards))

    def _beginning(self, ready: Sequence[Subtask], cards: Mapping[str, Card]) -> Iterator[Subtask]:
        for subtask in ready:
            if self._held.isdisjoint(subtask.depends_on) and self._takes(cards[subtask.expert]):
                yield subtask
            else:
                self._held.add(subtask.id)

    def _takes(self, card: Card) -> bool:
        """Take a slot for one subtask if another stays free; return whether it was taken."""
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
