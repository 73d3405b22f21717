"""Job: the events, answer, status, cancel and receipt of one job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from swarm.broker.deltas import Delta
from swarm.broker.job_log import JobLog
from swarm.broker.loop_session import Sessions
from swarm.client.follow import JobFollower
from swarm.engine.job_status import JobStatus
from swarm.engine.progress import SETTLED, Progress, parent_id
from swarm.errors import BadInput, WaitTimeout
from swarm.types.answer import Answer, Receipt
from swarm.types.events import Accepted, AnyEvent, Planned
from swarm.types.result import Failure, Solution, as_reason

SHOWN = 50
"""Subtasks that an error message names."""


class Job:
    """A job of a client. It holds an id and no connection: each call uses the connection of its event loop."""

    def __init__(self, sessions: Sessions, job_id: str) -> None:
        self._sessions, self.id = sessions, job_id
        self._follower = JobFollower(sessions)

    @property
    def _log(self) -> JobLog:
        return self._sessions.current.log

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    async def events(self, after: str = "0-0") -> AsyncIterator[AnyEvent]:
        """Yield the events after the one with id `after`, up to and including `ended`.

        After a `reset` (a failover rolled the log back) all events come again from the first. Raises JobNotFound.
        """
        async for event in self._follower.follow(self.id, after):
            yield event

    async def deltas(self, after: str = "0-0") -> AsyncIterator[Delta]:
        """Yield pieces of text as a model writes them, after the piece with id `after`, until the job ends.

        Only an answer that a model writes has pieces today. A piece with `reset` voids the earlier pieces of its
        `subtask`: a worker was lost, or the model is asked again. A late reader gets about the last 1,000 pieces; the
        whole text is in the answer. Raises JobNotFound.
        """
        async for delta in self._follower.watch(self.id, after):
            yield delta

    async def answer(self, timeout: float | None = None) -> Answer:
        """Wait for the job to end and return its answer. Raises WaitTimeout after `timeout` seconds; the job goes on.

        `timeout=0` does not wait: it returns the answer of a job that has ended, or raises WaitTimeout at once.
        """
        if timeout == 0:
            if (answer := await self._log.answer(self.id)) is None:
                raise WaitTimeout(self.id, 0.0)
            return answer
        try:
            async with asyncio.timeout(timeout):
                return await self._follower.wait(self.id)
        except TimeoutError:
            raise WaitTimeout(self.id, timeout or 0.0) from None

    async def status(self) -> JobStatus:
        """Return the current state of the job and its subtasks. Raises JobNotFound."""
        return JobStatus.of(self.id, await self._log.progress(self.id))

    async def result(self, subtask: str) -> Solution | Failure | None:
        """Return the result or failure of a subtask, also while the job runs. None: it is not settled, or was skipped.

        The items of a `for_each` give one result. Raises BadInput for a subtask that is not in the plan, JobNotFound.
        """
        progress = await self._log.progress(self.id)
        if subtask not in progress.steps:
            if _planned(progress) or progress.ended:
                raise self._no_subtask(subtask, progress)
            return None
        step = progress.steps[subtask]
        if step.state in ("failed", "dropped"):
            because = f"waited for {step.because}" if step.because else ""
            return Failure(reason=as_reason(step.reason), message=step.message or because)
        if step.state != "solved":
            return None
        found = await self._log.results(self.id, *progress.sources([subtask]))
        return found.get(subtask)

    async def cancel(self, timeout: float = 10.0, *, subtask: str | None = None) -> Receipt:
        """Cancel the job and wait for its end. The receipt lists what was stopped, withdrawn, finished and spent.

        With `subtask` only that subtask is cancelled, with all its items and everything that depends on it. The rest
        goes on, and no new plan is made around it. A job that has ended keeps its ending, a settled subtask its result.
        Raises BadInput for a subtask that is not in the job, WaitTimeout if no router took the cancel within `timeout`
        seconds; the cancel then stays requested.
        """
        if subtask is None:
            await self._log.cancel(self.id)
            await self.answer(timeout)
        else:
            try:
                async with asyncio.timeout(timeout):
                    await self._give_up(subtask)
            except TimeoutError:
                raise WaitTimeout(self.id, timeout) from None
        return await self.receipt()

    async def receipt(self) -> Receipt:
        """Return the outcome and cost of every attempt, so far if the job still runs. Raises JobNotFound."""
        return await self._log.receipt(self.id)

    def _no_subtask(self, name: str, known: Progress) -> BadInput:
        there = ", ".join(list(known.steps)[:SHOWN]) or "none"
        return BadInput("subtask", f"job {self.id} has no subtask {name[:80]!r}; it has: {there}", "name one of them")

    async def _give_up(self, name: str) -> None:
        known = await self._follower.until(self.id, lambda p: name in p.steps or p.ended or _planned(p))
        if name not in known.steps:
            raise self._no_subtask(name, known)
        if await self._log.cancel(self.id, name):
            await self._follower.until(self.id, lambda p: p.ended or _given_up(p, name))


def _planned(progress: Progress) -> bool:
    """Whether the planning of a job is finished, so that all its subtasks are known."""
    return progress.planned and progress.open_round is None


def _given_up(progress: Progress, name: str) -> bool:
    """Whether a subtask and its items are settled, and no attempt of them is left to withdraw."""
    of = [step for each, step in progress.steps.items() if name in (each, parent_id(each))]
    return all(step.state in SETTLED and not step.unwanted for step in of)


async def planning(job: Job) -> tuple[Accepted, Planned]:
    """Wait for the end of a job that is only planned: its `accepted` event, and the last one of its planning."""
    accepted, planned = Accepted(), Planned()
    async for event in job.events():
        match event:
            case Accepted():
                accepted = event
            case Planned() if event.closed:
                planned = event
    return accepted, planned
