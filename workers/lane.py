"""A lane of a worker: the queues it serves, and the slots in which it runs what comes from them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence

from swarm.broker.served_queues import Served

EVERY = 5.0
"""Seconds after which a lane looks into all its queues, as an older process enqueues without a note of it."""


class Lane:
    """Queues that share slots. What runs in one lane never takes a slot of another."""

    def __init__(self, name: str, queues: Sequence[str], slots: int, gates: Mapping[str, str] | None = None) -> None:
        self.name, self.slots, self.busy = name, slots, 0
        self.served = Served(queues, gates)
        self.unsure = False
        """Whether the answer to the last claim was lost."""
        self.claiming = 0
        """Slots that a claim under way may fill."""
        self._returning: deque[asyncio.Future[None]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._turn = 0
        self.woken = ""
        """The queue whose wake list had a token."""
        self._looks_at = 0.0

    @property
    def free(self) -> int:
        return self.slots - self.busy - len(self._returning)

    @property
    def queues(self) -> list[str]:
        return list(self.served.queues)

    def serve(self, queues: Sequence[str], gates: Mapping[str, str] | None = None) -> None:
        """Serve these queues from the next claim on; `gates`: what the deliveries of some must go through."""
        if (tuple(queues), gates or {}) != (self.served.queues, self.served.gates):
            self.served = Served(queues, gates)

    def turn(self) -> int:
        """The number of the queue to begin with: each time another, so that none waits behind a full one."""
        self._turn = (self._turn + 1) % max(1, len(self.served.queues))
        return self._turn

    def also(self) -> str:
        """Where the next claim looks beyond noted queues: the one that woke us, or all (`*`)."""
        now = time.monotonic()
        if now < self._looks_at:
            return self.woken
        self._looks_at = now + EVERY
        return "*"

    def take(self) -> None:
        self.busy += 1
        self._see()

    def give(self) -> None:
        self.busy -= 1
        self._see()

    async def retake(self) -> None:
        """Take again a slot that was given for a while: in turn, and before anything new is claimed.

        It is taken also if this is cancelled.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._returning.append(turn)
        self._see()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._returning:
                self._returning.remove(turn)
                self.take()
            raise

    def claimed(self) -> None:
        """The claim under way is over, and what it took has been started."""
        self.claiming = 0
        self._see()

    def _see(self) -> None:
        """Let those in that return, as far as there is room, and tell who waits for a free slot."""
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
