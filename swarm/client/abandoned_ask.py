"""Cancel or keep the job of an `ask` whose caller was cancelled, and report which of both was done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from swarm.broker.job_log import JobLog
from swarm.client.job import Job
from swarm.errors import BrokerError, SwarmError
from swarm.types.request import Request

LAST_WORD = 2.0
"""Seconds that a cancelled `ask` may take to cancel its job."""
LOOK = 0.05
"""Seconds between two checks whether the job was accepted, while its submission is under way."""

_log = logging.getLogger("swarm.client")  # a bare client install has no structlog


class Submission:
    """A submission that completes even if its caller is cancelled, so that the cancel of its job cannot overtake it."""

    def __init__(self) -> None:
        self._asked: asyncio.Future[Job] | None = None

    def shielded(self, asked: Awaitable[Job]) -> Awaitable[Job]:
        """Run one submission, shielded from the cancellation of the caller. The pauses between two are not shielded."""
        self._asked = asyncio.ensure_future(asked)
        return asyncio.shield(self._asked)

    async def abandon(
        self, error: asyncio.CancelledError, log: JobLog, job: str, request: Request, cancels: bool
    ) -> None:
        """Cancel the job, or leave it running. A note on `error` and a log line name the job and its state.

        `asyncio.wait_for` and `asyncio.timeout` raise a TimeoutError, with `error` and its note as `__cause__`.
        """
        try:
            async with asyncio.timeout(LAST_WORD):
                state = await self._end(log, job, request, cancels)
        except (SwarmError, TimeoutError):
            state = f"may go on, Redis did not answer in time (see: swarm cancel {job})"
        finally:
            if self._asked is not None:
                self._asked.cancel()
        error.add_note(f"job {job} {state}")
        _log.warning("the caller of an ask was cancelled: job %s %s", job, state)

    async def _end(self, log: JobLog, job: str, request: Request, cancels: bool) -> str:
        """Wait until the job is accepted, then end it. The confirmation by a replica or the disk is not waited for."""
        while not await log.holds(job, request):
            if self._asked is None or _refused(self._asked):
                return "was not accepted"
            # a submission whose connection broke may still arrive
            await asyncio.sleep(LOOK)
        if not cancels:
            return "goes on"
        await log.cancel(job)
        return "is cancelled"


def _refused(asked: asyncio.Future[Job]) -> bool:
    return asked.done() and (asked.cancelled() or not isinstance(asked.exception(), BrokerError))
