"""Jobs that experts ask for (child jobs): named, submitted, waited for and cancelled.

The id of a child job is a hash of the subtask that asks and of what it asks, so a repeated attempt finds the jobs of
the one before. While the parent waits, its delivery holds no slot: otherwise parents could fill all slots and wait for
children that need one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from experts.base import time_left
from swarm.broker.job_log import JobLog
from swarm.broker.queue import Claim
from swarm.client.client import SwarmClient, make_request
from swarm.errors import SwarmError
from swarm.runtime.expert_context import Context
from swarm.types.answer import Answer
from swarm.types.plan import Plan
from swarm.types.request import Envelope, Request
from workers.lane import Lane
from workers.running import DeliveryRunner

LATE = 2.0
"""Seconds after its deadline for which the ending of a job is waited for."""
LAST_WORD = 1.0
"""Seconds that an attempt which is given up takes at most to cancel what it asked for."""
SHORTEST = 0.05
"""Seconds that a job has at least."""


@dataclass(frozen=True)
class ChildJobs:
    """Submits child jobs for the experts of one process."""

    runner: DeliveryRunner
    lane: Lane
    log: JobLog
    client: SwarmClient

    def context(self, claim: Claim, envelope: Envelope) -> Callable[[], Awaitable[Context]]:
        """A function that makes the expert's Context of a delivery; called inside its attempt."""

        async def make() -> Context:
            standing = await self.runner.retry_while_down(lambda: self.log.standing(claim.job))
            ends = time.monotonic() + min(time_left(math.inf), standing.left)
            ask = DeliveryChildJobs(self, claim, envelope.subtask.id, standing.tenant, standing.priority)
            return Context(claim.job, envelope.subtask.id, envelope.attempt, standing.tenant, ends, ask)

        return make


class DeliveryChildJobs:
    """Submits the child jobs of one delivery and waits for their answers."""

    def __init__(self, jobs: ChildJobs, claim: Claim, subtask: str, tenant: str, priority: int) -> None:
        self._jobs, self._claim, self._subtask = jobs, claim, subtask
        self._tenant, self._priority = tenant, priority
        self._asked: Counter[str] = Counter()
        self._waiting = 0
        self._holds = True

    async def __call__(
        self, text: str, expert: str | None, plan: Plan | Mapping[str, Any] | list[Any] | None, seconds: float
    ) -> Answer:
        """Also from a loop of its own in a thread, where a plain `def solve` may have one."""
        asked = self._ask(text, expert, plan, seconds)
        loop = self._jobs.runner.loop
        if asyncio.get_running_loop() is loop:
            return await asked
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, loop))

    async def _ask(
        self, text: str, expert: str | None, plan: Plan | Mapping[str, Any] | list[Any] | None, seconds: float
    ) -> Answer:
        until = time.monotonic() + seconds
        request = make_request(text=text, expert=expert, plan=plan, tenant=self._tenant, priority=self._priority)
        what = request.model_dump_json(exclude_defaults=True)
        self._asked[what] += 1
        number = self._asked[what]
        async with self._without_slot():
            for again in count():
                left = max(SHORTEST, until - time.monotonic())
                name = _child(self._claim.job, self._subtask, what, number, again)
                new, answer = await self._answer(name, request, left)
                # one of an attempt before that came to nothing is asked for anew
                if new or answer.ending in ("completed", "partial"):
                    return answer
        raise AssertionError("unreachable")

    async def _answer(self, name: str, request: Request, seconds: float) -> tuple[bool, Answer]:
        """Whether the job is a new one, and its answer. It is cancelled when nobody waits for it any more."""
        log, timed = self._jobs.log, request.model_copy(update={"deadline": seconds, "max_age": seconds})
        try:
            async with asyncio.timeout(seconds + LATE):
                new = await self._jobs.runner.retry_while_down(lambda: log.submit(name, timed, parent=self._claim.job))
                return new, await self._jobs.client.job(name).answer()
        except (asyncio.CancelledError, TimeoutError) as error:
            with contextlib.suppress(SwarmError, TimeoutError):
                async with asyncio.timeout(LAST_WORD):
                    if not await self._goes_on_elsewhere():
                        await log.cancel(name)
            if isinstance(error, TimeoutError):
                waited = f"job {name}, which it asked for, did not end within {seconds + LATE:.3g} s"
                raise TimeoutError(f"{waited}; see that routers run and that Redis answers") from None
            raise

    async def _goes_on_elsewhere(self) -> bool:
        """Whether the delivery comes again, here or elsewhere: then what it asked for is still wanted."""
        return self._jobs.runner.ending or await self._jobs.runner.queue.moved(self._claim)

    @contextlib.asynccontextmanager
    async def _without_slot(self) -> AsyncIterator[None]:
        """Give the slot back for the block. Of several blocks at once the first gives it and the last takes it."""
        lane = self._jobs.lane
        self._waiting += 1
        if self._holds:
            self._holds = False
            lane.give()
        try:
            yield
        except BaseException:
            self._waiting -= 1
            if not self._holds:
                self._holds = True
                lane.take()  # at once, since it is given back at the end of the delivery in any case
            raise
        self._waiting -= 1
        if not self._waiting and not self._holds:
            self._holds = True
            await lane.retake()


def _child(job: str, subtask: str, what: str, number: int, again: int) -> str:
    """The id of the job that a subtask asks for the `number`th time in these words."""
    parts = "\n".join([job, subtask, str(number), str(again), what])
    return f"a{hashlib.sha256(parts.encode()).hexdigest()[:40]}"
