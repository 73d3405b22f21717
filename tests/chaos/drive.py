"""The callers of a chaos run: they submit, follow, cancel, and ask again when they cannot know."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from swarm.client.client import Job, SwarmClient
from swarm.errors import BrokerError, Busy, JobNotFound, OverBudget, WaitTimeout
from swarm.types.answer import Answer, Receipt
from tests.chaos.load import Work

OPEN = 60
"""Jobs that the callers have open at once."""
EXPECTED = 10.0
"""Seconds in which some job ends, as long as any is open; what one takes depends on the machine and its priority."""
GRACE = 30.0
"""Seconds after its deadline, or after what is expected, from which a job without an ending is lost."""
LOOK = 5.0
"""Seconds between looks at whether a job is lost by now."""
PATIENCE = 60.0
"""Seconds that a caller asks again before it gives up."""

T = TypeVar("T")


@dataclass
class Record:
    """What a caller knows of one job. Times are of the machine's clock, 0 where it did not happen."""

    work: Work
    client: SwarmClient
    submitted: float = 0.0
    """When `submit` was first called."""
    accepted: float = 0.0
    """When `submit` answered OK."""
    ended: float = 0.0
    refused: str = ""
    answer: Answer | None = None
    receipt: Receipt | None = None
    problem: str = ""
    """What should not have happened: `lost`, `vanished`, or an error."""


class Callers:
    """Send the load through several clients, at most OPEN jobs at once."""

    def __init__(self, clients: Sequence[SwarmClient]) -> None:
        self._clients = clients
        self._room = asyncio.Semaphore(OPEN)
        self._progress = 0.0
        """When the last job ended."""
        self.records: list[Record] = []

    async def run(self, load: Iterable[Work]) -> None:
        """Returns when every job has ended or was given up."""
        async with asyncio.TaskGroup() as group:
            for number, work in enumerate(load):
                await self._room.acquire()
                record = Record(work, self._clients[number % len(self._clients)])
                self.records.append(record)
                group.create_task(self._see_through(record))

    async def _see_through(self, record: Record) -> None:
        try:
            await self._submit(record)
            if record.accepted:
                await asyncio.gather(self._cancel(record), self._follow(record))
        except Exception as error:
            record.problem = record.problem or f"{type(error).__name__}: {error}"
        finally:
            self._room.release()

    async def _submit(self, record: Record) -> None:
        work = record.work
        record.submitted = time.time()
        try:
            await patient(lambda: record.client.submit(work.text, job_id=work.id, **work.options))
        except (OverBudget, Busy) as error:
            record.refused = type(error).__name__
        except BrokerError:
            record.refused = "unsure"  # the caller never heard that it was accepted
        else:
            record.accepted = time.time()

    async def _follow(self, record: Record) -> None:
        job = record.client.job(record.work.id)
        while record.answer is None and not record.problem:
            try:
                record.answer = await patient(lambda: job.answer(LOOK))
                record.ended = self._progress = time.time()
            except JobNotFound:
                record.problem = "vanished"
            except (WaitTimeout, BrokerError):
                record.problem = "lost" if time.time() > self._limit(record) else ""

    def _limit(self, record: Record) -> float:
        """When it is lost: past its own deadline, or where nothing at all goes on."""
        deadline = record.work.options.get("deadline")
        begun = record.accepted + deadline if deadline else max(record.accepted, self._progress) + EXPECTED
        return float(begun + GRACE)

    async def _cancel(self, record: Record) -> None:
        if record.work.cancel_after is None:
            return
        await asyncio.sleep(record.work.cancel_after)
        job: Job = record.client.job(record.work.id)
        try:
            record.receipt = await patient(lambda: job.cancel(timeout=GRACE))
        except WaitTimeout:
            record.problem = "lost"
        except (BrokerError, JobNotFound):
            pass  # whoever follows it says so


async def patient(call: Callable[[], Awaitable[T]], within: float = PATIENCE) -> T:
    """Repeat what is safe to repeat until Redis answers, and what is refused for now until there is room."""
    until, pause = time.monotonic() + within, 0.05
    while True:
        try:
            return await call()
        except (BrokerError, Busy) as error:
            if time.monotonic() > until:
                raise
            pause = error.retry_after if isinstance(error, Busy) else min(1.0, 2 * pause)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
