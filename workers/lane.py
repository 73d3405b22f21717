"""A lane of a worker: the queues it serves, and the slots in which it runs their deliveries."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence

from swarm.broker.served_queues import ServedQueues

FULL_LOOK = 5.0
"""Seconds between looks into all queues of a lane: processes of older versions enqueue without noting the queue."""


class Lane:
    """Queues that share slots. A delivery of one lane never takes a slot of another."""

    def __init__(self, name: str, queues: Sequence[str], slots: int, limiters: Mapping[str, str] | None = None) -> None:
        self.name, self.slots, self.busy = name, slots, 0
        self.served = ServedQueues(queues, limiters)
        self.unsure = False
        """Whether the reply to the last claim was lost."""
        self.claiming = 0
        """Slots that the claim under way may fill."""
        self._returning: deque[asyncio.Future[None]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._turn = 0
        self.woken = ""
        """The queue whose wake list had a token at the last wait."""
        self._looks_at = 0.0

    @property
    def free(self) -> int:
        """Slots that a new claim may fill."""
        return self.slots - self.busy - len(self._returning)

    @property
    def queues(self) -> list[str]:
        return list(self.served.queues)

    def serve(self, queues: Sequence[str], limiters: Mapping[str, str] | None = None) -> None:
        """Serve these queues from the next claim on; `limiters` names the limiters of a queue's deliveries."""
        if (tuple(queues), limiters or {}) != (self.served.queues, self.served.limiters):
            self.served = ServedQueues(queues, limiters)

    def turn(self) -> int:
        """The number of the queue to begin with, another at each call, so that no queue waits behind a full one."""
        self._turn = (self._turn + 1) % max(1, len(self.served.queues))
        return self._turn

    def also(self) -> str:
        """Queues that the next claim reads beside the noted ones: the one that woke this lane, or all (`*`)."""
        now = time.monotonic()
        if now < self._looks_at:
            return self.woken
        self._looks_at = now + FULL_LOOK
        return "*"

    def take(self) -> None:
        """Occupy a slot, even beyond `slots`."""
        self.busy += 1
        self._update()

    def give(self) -> None:
        """Free a slot. Deliveries that wait in `retake` get it first."""
        self.busy -= 1
        self._update()

    async def retake(self) -> None:
        """Take back a slot that was given away for a while: in order of asking, and before anything new is claimed.

        The slot is taken even if this is cancelled.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._returning.append(turn)
        self._update()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._returning:
                self._returning.remove(turn)
                self.take()
            raise

    def claimed(self) -> None:
        """Record that the claim under way is over and its deliveries have been started."""
        self.claiming = 0
        self._update()

    def _update(self) -> None:
        """Give free slots to deliveries in `retake`, then wake a claim that waits for one."""
        while self._returning and self.busy + self.claiming < self.slots:
            if not (turn := self._returning.popleft()).cancelled():
                turn.set_result(None)
            self.busy += 1
        if self.free > 0:
            self._room.set()
        else:
            self._room.clear()

    async def room(self) -> None:
        """Wait for a free slot."""
        await self._room.wait()
