"""Cancel all jobs of a tenant: ask all of them to end first, then wait for them, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from swarm.broker.job_log import JobLog
from swarm.client.job import Job
from swarm.engine.receipt import TenantReceipt
from swarm.errors import JobNotFound, WaitTimeout
from swarm.types.answer import Receipt

ROUNDS = 5
"""Rounds at most, each with the jobs that were accepted during the one before."""
AT_ONCE = 32
"""Jobs that are asked, or waited for, at the same time."""


async def cancel_all(
    log: JobLog, job: Callable[[str], Job], tenant: str, timeout: float, on_progress: Callable[[int, int], None]
) -> TenantReceipt:
    """Cancel the open jobs of `tenant`, see `SwarmClient.cancel_tenant`. `job` makes a Job of an id."""
    cancelling = _Cancelling(log, job, timeout, on_progress)
    for _ in range(ROUNDS):
        if not await cancelling.round(await log.open(tenant)):
            break
    since = [name for name in await log.open(tenant) if name not in cancelling.asked]
    return TenantReceipt(
        tenant=tenant,
        receipts=tuple(cancelling.receipts),
        pending=tuple(cancelling.pending),
        accepted_since=tuple(since),
    )


class _Cancelling:
    """The jobs that were asked to end, the receipts of those that have, and those still pending."""

    def __init__(
        self, log: JobLog, job: Callable[[str], Job], timeout: float, on_progress: Callable[[int, int], None]
    ) -> None:
        self._log, self._job, self._timeout, self._on_progress = log, job, timeout, on_progress
        self.asked: set[str] = set()
        self.receipts: list[Receipt] = []
        self.pending: list[str] = []
        self._stalled = False
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def round(self, jobs: Collection[str]) -> bool:
        """Ask those of `jobs` that were not asked yet, and wait for them; False when there is none."""
        new = [job for job in jobs if job not in self.asked]
        self.asked.update(new)
        await asyncio.gather(*(self._ask(job) for job in new))
        await asyncio.gather(*(self._wait(job) for job in new))
        return bool(new)

    async def _ask(self, job: str) -> None:
        async with self._slots:
            try:
                await self._log.cancel(job)
            except JobNotFound:
                self.asked.discard(job)  # its retention has passed since it was listed

    async def _wait(self, job: str) -> None:
        async with self._slots:
            before = len(self.receipts)
            try:
                if await self._log.answer(job) is None:
                    await self._job(job).answer(0.0 if self._stalled else self._timeout)
                self.receipts.append(await self._log.receipt(job))
            except WaitTimeout:
                self.pending.append(job)
                # no job ended within the timeout, so no router takes cancels: look at the rest without waiting
                self._stalled = self._stalled or len(self.receipts) == before
            except JobNotFound:
                return
        self._on_progress(len(self.receipts), len(self.asked))
