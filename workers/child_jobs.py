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
from workers.delivery_runner import DeliveryRunner
from workers.lane import Lane

ENDING_GRACE = 2.0
"""Seconds after a child job's deadline in which its ending must arrive."""
CANCEL_TIMEOUT = 1.0
"""Seconds that a cancelled attempt may take to cancel its child jobs."""
MIN_DEADLINE = 0.05
"""Seconds that a child job has at least."""


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
        """Ask the swarm and wait for its answer. May be called from another event loop, such as one of `def solve`."""
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
                left = max(MIN_DEADLINE, until - time.monotonic())
                name = _child(self._claim.job, self._subtask, what, number, again)
                new, answer = await self._answer(name, request, left)
                # a failed child job of an earlier attempt is submitted anew
                if new or answer.ending in ("completed", "partial"):
                    return answer
        raise AssertionError("unreachable")

    async def _answer(self, name: str, request: Request, seconds: float) -> tuple[bool, Answer]:
        """Submit a child job unless it exists; return whether it is new, and its answer.

        A child job is cancelled when the wait for it ends early and its parent runs nowhere else.
        """
        log, timed = self._jobs.log, request.model_copy(update={"deadline": seconds, "max_age": seconds})
        try:
            async with asyncio.timeout(seconds + ENDING_GRACE):
                new = await self._jobs.runner.retry_while_down(lambda: log.submit(name, timed, parent=self._claim.job))
                return new, await self._jobs.client.job(name).answer()
        except (asyncio.CancelledError, TimeoutError) as error:
            with contextlib.suppress(SwarmError, TimeoutError):
                async with asyncio.timeout(CANCEL_TIMEOUT):
                    if not await self._continues_elsewhere():
                        await log.cancel(name)
            if isinstance(error, TimeoutError):
                waited = f"job {name}, which it asked for, did not end within {seconds + ENDING_GRACE:.3g} s"
                raise TimeoutError(f"{waited}; see that routers run and that Redis answers") from None
            raise

    async def _continues_elsewhere(self) -> bool:
        """Whether the delivery is run again, here or elsewhere: it then still needs its child jobs."""
        return self._jobs.runner.ending or await self._jobs.runner.queue.moved(self._claim)

    @contextlib.asynccontextmanager
    async def _without_slot(self) -> AsyncIterator[None]:
        """Free the delivery's slot for the block. Of overlapping blocks the first frees it, the last takes it back."""
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
                lane.take()  # without waiting for room: the end of the delivery frees it in any case
            raise
        self._waiting -= 1
        if not self._waiting and not self._holds:
            self._holds = True
            await lane.retake()


def _child(job: str, subtask: str, what: str, number: int, again: int) -> str:
    """Id of the child job that a subtask asks for the `number`th time in these words, on try `again`."""
    parts = "\n".join([job, subtask, str(number), str(again), what])
    return f"a{hashlib.sha256(parts.encode()).hexdigest()[:40]}"
