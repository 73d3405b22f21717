"""Cancelling all jobs of a tenant: everything is asked to end first, then waited for, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from swarm.engine.receipt import TenantReceipt
from swarm.errors import JobNotFound, WaitTimeout
from swarm.types.answer import Receipt

if TYPE_CHECKING:
    from swarm.client.client import SwarmClient

ROUNDS = 5
"""How often it is looked whether more jobs were accepted meanwhile."""
AT_ONCE = 32


async def cancel_all(
    client: SwarmClient, tenant: str, timeout: float, told: Callable[[int, int], None]
) -> TenantReceipt:
    """See `SwarmClient.cancel_tenant`."""
    clearing = _Clearing(client, timeout, told)
    for _ in range(ROUNDS):
        if not await clearing.round(await client.log.open(tenant)):
            break
    since = [job for job in await client.log.open(tenant) if job not in clearing.asked]
    return TenantReceipt(
        tenant=tenant,
        receipts=tuple(clearing.receipts),
        pending=tuple(clearing.pending),
        accepted_since=tuple(since),
    )


class _Clearing:
    """What was asked to end, and what has."""

    def __init__(self, client: SwarmClient, timeout: float, told: Callable[[int, int], None]) -> None:
        self._client, self._timeout, self._told = client, timeout, told
        self.asked: set[str] = set()
        self.receipts: list[Receipt] = []
        self.pending: list[str] = []
        self._stalled = False
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def round(self, jobs: Collection[str]) -> bool:
        """Ask those of `jobs` that were not asked, and wait for them; False when there is none."""
        new = [job for job in jobs if job not in self.asked]
        self.asked.update(new)
        await asyncio.gather(*(self._ask(job) for job in new))
        await asyncio.gather(*(self._wait(job) for job in new))
        return bool(new)

    async def _ask(self, job: str) -> None:
        async with self._slots:
            try:
                await self._client.log.cancel(job)
            except JobNotFound:
                self.asked.discard(job)  # its retention has passed since it was listed

    async def _wait(self, job: str) -> None:
        async with self._slots:
            before = len(self.receipts)
            try:
                if await self._client.log.answer(job) is None:
                    await self._client.job(job).answer(0.0 if self._stalled else self._timeout)
                self.receipts.append(await self._client.log.receipt(job))
            except WaitTimeout:
                self.pending.append(job)
                # none of them ended meanwhile, so nobody takes cancels: the rest is only looked at
                self._stalled = self._stalled or len(self.receipts) == before
            except JobNotFound:
                return
        self._told(len(self.receipts), len(self.asked))
