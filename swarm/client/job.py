"""One job in a caller's hands: its events, its answer, its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from swarm.broker.deltas import Delta
from swarm.broker.job_log import JobLog
from swarm.broker.session import Sessions
from swarm.client.follow import JobFollower
from swarm.engine.job_status import JobStatus
from swarm.engine.progress import SETTLED, Progress, parent_id
from swarm.errors import BadInput, WaitTimeout
from swarm.types.answer import Answer, Receipt
from swarm.types.events import Accepted, AnyEvent, Planned
from swarm.types.result import Failure, Solution, as_reason

SHOWN = 50
"""Subtasks that an error names."""


class Job:
    """A job of a client. It holds an id and no connection: each call uses the connection of its event loop."""

    def __init__(self, sessions: Sessions, job_id: str) -> None:
        self._sessions, self.id = sessions, job_id

    @property
    def _log(self) -> JobLog:
        return self._sessions.current.log

    @property
    def _follower(self) -> JobFollower:
        session = self._sessions.current
        return JobFollower(session.log, session.notifications, session.connection.keys)

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    async def events(self, after: str = "0-0") -> AsyncIterator[AnyEvent]:
        """What happens, from the event after the one with id `after`, up to and with `ended`.

        After a `reset` (a failover rolled the log back) the events come again from the first. Raises JobNotFound.
        """
        async for event in self._follower.follow(self.id, after):
            yield event

    async def deltas(self, after: str = "0-0") -> AsyncIterator[Delta]:
        """Texts while they are written, from the piece after the one with id `after` until the job ends.

        Today the answer alone, where a model writes it; a job without such an answer has none. Where a piece has
        `reset`, forget what came before of its `subtask`: a worker was lost, or the model is asked again. Whoever
        comes late has about the last 1,000 pieces; the whole text is in the answer. Raises JobNotFound.
        """
        async for delta in self._follower.watch(self.id, after):
            yield delta

    async def answer(self, timeout: float | None = None) -> Answer:
        """The answer, as soon as the job has ended. Raises WaitTimeout after `timeout` seconds; the job goes on.

        With `timeout=0` it only looks: the answer of a job that has ended, else WaitTimeout at once.
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
        """Where the job stands now. Raises JobNotFound."""
        return JobStatus.of(self.id, await self._log.progress(self.id))

    async def result(self, subtask: str) -> Solution | Failure | None:
        """What a subtask came to, also while the job goes on; None: it is not settled, or was skipped.

        The results of a `for_each` are one. Raises BadInput for a subtask that a planned job has not, JobNotFound.
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
        """Cancel, wait until it is done, and say what was stopped, withdrawn and finished, and what was used.

        With `subtask` only that one is given up, with all its items and with what waits for it; the rest goes on, and
        no new plan is made around it. What has ended or is settled already keeps its ending or its result. Raises
        BadInput for a subtask that the job has not, WaitTimeout when no router took the cancel within `timeout`
        seconds; it stays asked for.
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
        """What became of each attempt and what it used; of a job that goes on, as far as it is. Raises JobNotFound."""
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
    """Whether it is known which subtasks a job has."""
    return progress.planned and progress.open_round is None


def _given_up(progress: Progress, name: str) -> bool:
    """Whether a subtask and its items are settled, and nothing of it is left to take back."""
    of = [step for each, step in progress.steps.items() if name in (each, parent_id(each))]
    return all(step.state in SETTLED and not step.unwanted for step in of)


async def planning(job: Job) -> tuple[Accepted, Planned]:
    """When the job was accepted, and how its planning ended."""
    accepted, planned = Accepted(), Planned()
    async for event in job.events():
        match event:
            case Accepted():
                accepted = event
            case Planned() if event.closed:
                planned = event
    return accepted, planned
