"""An ask that is given up: what becomes of its job, and how its caller learns of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from swarm.broker.job_log import JobLog
from swarm.client.job import Job
from swarm.errors import BrokerError, SwarmError
from swarm.types.request import Request

LAST_WORD = 2.0
"""Seconds that a cancelled `ask` takes at most to cancel its job."""
LOOK = 0.05
"""Seconds between looks whether the job is there, while its submission is under way."""

_log = logging.getLogger("swarm.client")  # structlog is not there where only the client is installed


class Submission:
    """One that is seen through though its caller is cancelled, so that a cancel of its job cannot overtake it."""

    def __init__(self) -> None:
        self._asked: asyncio.Future[Job] | None = None

    def seen_through(self, asked: Awaitable[Job]) -> Awaitable[Job]:
        """Submit, once more; what a patient caller does in between is not held up."""
        self._asked = asyncio.ensure_future(asked)
        return asyncio.shield(self._asked)

    async def given_up(
        self, error: asyncio.CancelledError, log: JobLog, job: str, request: Request, cancels: bool
    ) -> None:
        """Cancel the job, or leave it; say in a note of `error`, and in the program's log, what became of it.

        `asyncio.wait_for` and `asyncio.timeout` raise a TimeoutError, with `error` and its note as `__cause__`.
        """
        try:
            async with asyncio.timeout(LAST_WORD):
                became = await self._end(log, job, request, cancels)
        except (SwarmError, TimeoutError):
            became = f"may go on, Redis did not answer in time (see: swarm cancel {job})"
        finally:
            if self._asked is not None:
                self._asked.cancel()
        error.add_note(f"job {job} {became}")
        _log.warning("an ask was given up: job %s %s", job, became)

    async def _end(self, log: JobLog, job: str, request: Request, cancels: bool) -> str:
        """Wait until the job is there; that a replica or the disk confirms it may take much longer."""
        while not await log.holds(job, request):
            if self._asked is None or _refused(self._asked):
                return "was not accepted"
            # what broke its connection may still arrive
            await asyncio.sleep(LOOK)
        if not cancels:
            return "goes on"
        await log.cancel(job)
        return "is cancelled"


def _refused(asked: asyncio.Future[Job]) -> bool:
    return asked.done() and (asked.cancelled() or not isinstance(asked.exception(), BrokerError))
