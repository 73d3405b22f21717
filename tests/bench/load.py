"""What many jobs in flight cost: the hop beside them, processor time per subtask, memory per job.

Jobs of one nap come and go at the same rate however many are in flight; what changes is how long they nap.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from statistics import median

from swarm.broker.keys import ADVANCE, expert_queue
from tests.bench.experts import ABSENT_CARD, NAP_CARD
from tests.bench.latency import WARM, Deliveries
from tests.bench.report import Found, Metric, p95
from tests.bench.rig import ROUTER, BenchError, Rig, naps, rig, until
from tests.bench.serve import Pool

IN_FLIGHT = (100, 1_000, 10_000)
RATE = 200.0
"""Jobs that end, and begin, in a second."""
WATCHED = 6.0
"""Seconds over which processor time is compared and hops are taken."""
BEHIND = 50
"""Deliveries that may be ready in a queue when the load counts as carried."""
AT_ONCE = 200
"""Submits under way while the load is built up."""
PROCESSES = ("router", "workers", "redis", "client")
LOOKED_AT = 100
"""Jobs whose log is read to see that nothing ran twice."""
METRICS = {
    f"{name}_{count}": metric
    for count in IN_FLIGHT
    for name, metric in (
        ("hop_ms", Metric("ms", row=f"{count:,} jobs in flight: queue hop, p50")),
        ("hop_p95_ms", Metric("ms", row=f"{count:,} jobs in flight: queue hop, p95")),
        ("cpu_ms", Metric("ms/subtask", row=f"{count:,} jobs in flight: CPU per subtask, all processes")),
        *((f"{process}_cpu_ms", Metric("ms/subtask")) for process in PROCESSES),
        ("bytes_per_job", Metric("bytes", row=f"{count:,} jobs in flight: Redis memory each")),
        ("jobs_per_s", Metric("1/s")),
    )
}


async def load(rounds: int) -> Found:
    """The hop, processor time per subtask and Redis memory per job at 100, 1,000 and 10,000 jobs in flight.

    One router and two expert processes with slots for all; jobs are submitted and awaited by one client, which
    takes the hops as well, with bare deliveries that another job of its own waits for. A load that the machine does
    not carry is a note; raises BenchError if it carries none.
    """
    found: dict[str, list[float]] = {}
    notes: list[str] = []
    for _ in range(rounds):
        for count in IN_FLIGHT:
            try:
                values = await _loaded(count)
            except BenchError as error:
                notes.append(f"{count:,} jobs in flight: {error}")
                continue
            for name, value in values.items():
                found.setdefault(f"{name}_{count}", []).append(value)
    if not found:
        raise BenchError("; ".join(notes))
    return Found(found, tuple(notes))


async def _loaded(count: int) -> dict[str, float]:
    pool = Pool(slots=count // 2 + 50)
    async with rig(ROUTER, pool, pool, cards=(NAP_CARD, ABSENT_CARD)) as bench:
        deliveries = await Deliveries.open(bench, naps(0, expert=ABSENT_CARD.name))
        await deliveries.seen(WARM)
        empty = await bench.memory()
        async with _crowd(bench, count) as crowd:
            await until(crowd.full, f"{count} jobs are in flight", timeout=120, pause=0.05)
            await until(crowd.steady, f"the swarm keeps up with {RATE:g} jobs a second", timeout=60, pause=0.1)
            each = (await bench.memory() - empty) / crowd.submitted
            ended, before, begun = len(crowd.ended), _cpu(bench), time.perf_counter()
            hops: list[float] = []
            while time.perf_counter() < begun + WATCHED:
                hops += await deliveries.seen(1)
            taken, after = time.perf_counter() - begun, _cpu(bench)
            done = len(crowd.ended) - ended + len(hops)
        await bench.check_once(crowd.ended[-LOOKED_AT:])
    spent = {name: (after[name] - before[name]) * 1000 / done for name in PROCESSES}
    return {
        "hop_ms": median(hops),
        "hop_p95_ms": p95(hops),
        "cpu_ms": sum(spent.values()),
        **{f"{name}_cpu_ms": value for name, value in spent.items()},
        "bytes_per_job": each,
        "jobs_per_s": done / taken,
    }


class Crowd:
    """Jobs in flight: as one ends, another begins."""

    def __init__(self, bench: Rig, count: int) -> None:
        self._bench, self._count, self._mean = bench, count, count / RATE
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.submitted = 0
        self.ended: list[str] = []

    async def one(self, chance: random.Random) -> None:
        """One place in the crowd; never returns."""
        seconds = chance.uniform(0.0, self._mean)
        while True:
            async with self._gate:
                job = await self._bench.client.submit("a bench", plan=naps(seconds))
            self.submitted += 1
            answer = await job.answer()
            if answer.ending != "completed":
                raise BenchError(f"a job ended {answer.ending}: {answer.reason}")
            self.ended.append(job.id)
            seconds = chance.uniform(0.85 * self._mean, 1.15 * self._mean)

    async def full(self) -> bool:
        """Whether all have been accepted."""
        return self.submitted >= self._count

    async def steady(self) -> bool:
        """Whether the swarm has caught up with them."""
        behind = [await self._bench.waiting(queue) for queue in (ADVANCE, expert_queue(NAP_CARD))]
        return max(behind) < BEHIND


@contextlib.asynccontextmanager
async def _crowd(bench: Rig, count: int) -> AsyncIterator[Crowd]:
    """A crowd that goes on until the block ends. A BenchError in it ends the block."""
    crowd = Crowd(bench, count)
    try:
        async with asyncio.TaskGroup() as group:
            places = [group.create_task(crowd.one(random.Random(number))) for number in range(count)]
            yield crowd
            for place in places:
                place.cancel()
    except ExceptionGroup as group_of:
        raise group_of.exceptions[0] from None


def _cpu(bench: Rig) -> dict[str, float]:
    router, *workers = bench.pids
    return {
        "router": bench.cpu(router),
        "workers": sum(map(bench.cpu, workers)),
        "redis": bench.cpu(bench.redis),
        "client": bench.cpu(os.getpid()),
    }
