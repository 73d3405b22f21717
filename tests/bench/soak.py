"""Whether anything grows: a steady load well under capacity, and the memory of every process and of Redis meanwhile.

Jobs are kept only so long that the first expire early in the run; after that Redis must stay as it is.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from swarm.settings import Settings
from swarm.types.plan import Plan
from tests.bench.experts import NAP_CARD, TEMPLATE_CARD
from tests.bench.report import Found, Metric, slope
from tests.bench.rig import ROUTER, BenchError, Rig, naps, rig
from tests.bench.serve import Pool

RATE = 40.0
"""Jobs a second, two and a half subtasks each: 5 to 10 % of what one worker and one router can do."""
PLANS: tuple[Plan, ...] = (
    naps(0.05),
    naps(0.02, 0.02, 0.02, chain=True),
    naps(0.0, 0.01, 0.02, 0.03),
    naps(0.0, 0.0, expert=TEMPLATE_CARD.name),
)
KEPT = 60.0
"""Seconds for which a job is kept after its end."""
SAMPLE = 5.0
"""Seconds between two looks."""
SETTLED = 0.3
"""The part of the run that is not counted: until then memory may grow. Jobs expire and lists with a bound fill up."""
AT_ONCE = 1_000
"""Jobs open at once, at most; more and the load is not one that the swarm carries."""
PARTS = ("redis", "router", "worker1", "worker2", "client")
METRICS = (
    {"redis_slope": Metric("kB/min", "0", row="soak: growth of Redis' data after the first minutes")}
    | {
        f"{part}_slope": Metric("kB/min", "0", row=f"soak: growth of the {part} after the first minutes")
        for part in PARTS[1:]
    }
    | {"redis_mb": Metric("MB"), "redis_rss_mb": Metric("MB")}
    | {f"{part}_mb": Metric("MB") for part in PARTS[1:]}
    | {"keys": Metric("keys"), "keys_slope": Metric("keys/min", "0"), "jobs_per_s": Metric("1/s")}
)
TITLES = ("minute", "jobs", "open", "keys", "redis", "rss", *PARTS[1:])
"""Memory in MB: of Redis' data, of its process, and of the others."""
WIDTH = 6


@dataclass(frozen=True)
class Look:
    """What stood where `minute` minutes after the start. Memory in megabytes, that of processes resident."""

    minute: float
    jobs: int
    open: int
    keys: int
    redis: float
    redis_rss: float
    processes: tuple[float, ...]

    def row(self) -> str:
        values = (f"{self.minute:.1f}", self.jobs, self.open, self.keys)
        memory = (f"{megabytes:.2f}" for megabytes in (self.redis, self.redis_rss, *self.processes))
        return _columns((*values, *memory))


async def soak(minutes: int) -> Found:
    """A steady load for so many minutes. Slopes are by least squares over what comes after the first three tenths.

    In less than some ten minutes Redis is still filling up: with jobs for their minute, then with the names of 10,000
    ended ones.

    The notes are a table of one row a minute. Redis' own memory is that of its data; `redis_rss_mb` is the process.
    """
    settings = Settings(max_age=KEPT, retention=KEPT)
    async with rig(ROUTER, Pool(), Pool(), settings=settings, cards=(NAP_CARD, TEMPLATE_CARD)) as bench:
        jobs = Load(bench)
        looks: list[Look] = []
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(jobs.run(minutes * 60.0))
            begun = time.perf_counter()
            for number in itertools.count():
                await asyncio.wait({loading}, timeout=begun + number * SAMPLE - time.perf_counter())
                if loading.done():
                    break
                looks.append(await _look(bench, (time.perf_counter() - begun) / 60, jobs))
        taken = time.perf_counter() - begun
    if wrong := {ending: count for ending, count in jobs.endings.items() if ending != "completed"}:
        raise BenchError(f"of {jobs.ended} jobs these did not complete: {wrong}")
    return Found(_found(looks, jobs.ended / taken), tuple(_table(looks)))


class Load:
    """Submits jobs at a steady rate and waits for each."""

    def __init__(self, bench: Rig) -> None:
        self._bench = bench
        self.endings: Counter[str] = Counter()
        self.open = 0

    @property
    def ended(self) -> int:
        return self.endings.total()

    async def run(self, seconds: float) -> None:
        """Return when all jobs of so many seconds have ended."""
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * RATE)):
                await asyncio.sleep(begun + number / RATE - time.perf_counter())
                if self.open >= AT_ONCE:
                    raise BenchError(f"{self.open} jobs are open at {RATE:g} jobs a second: the load is too high here")
                group.create_task(self._one(PLANS[number % len(PLANS)]))

    async def _one(self, plan: Plan) -> None:
        self.open += 1
        answer = await self._bench.client.ask("a bench", plan=plan)
        self.open -= 1
        self.endings[answer.ending] += 1


async def _look(bench: Rig, minute: float, jobs: Load) -> Look:
    return Look(
        minute=minute,
        jobs=jobs.ended,
        open=jobs.open,
        keys=int(await bench.connection.call("DBSIZE")),
        redis=await bench.memory() / 1e6,
        redis_rss=psutil.Process(bench.redis).memory_info().rss / 1e6,
        processes=tuple(psutil.Process(pid).memory_info().rss / 1e6 for pid in (*bench.pids, os.getpid())),
    )


def settled(looks: Sequence[Look]) -> Sequence[Look]:
    """Those after the part of the run that is not counted."""
    return [look for look in looks if look.minute >= looks[-1].minute * SETTLED]


def _found(looks: Sequence[Look], rate: float) -> dict[str, list[float]]:
    late = settled(looks)
    minutes = [look.minute for look in late]
    memory = {"redis": [look.redis for look in late]} | {
        part: [look.processes[number] for look in late] for number, part in enumerate(PARTS[1:])
    }
    return {
        **{f"{part}_slope": [slope(minutes, values) * 1000] for part, values in memory.items()},
        **{f"{part}_mb": values for part, values in memory.items()},
        "redis_rss_mb": [look.redis_rss for look in late],
        "keys": [look.keys for look in late],
        "keys_slope": [slope(minutes, [look.keys for look in late])],
        "jobs_per_s": [rate],
    }


def _table(looks: Sequence[Look]) -> Iterator[str]:
    """The look at the end of each minute."""
    yield _columns(TITLES)
    for _, group in itertools.groupby(looks, key=lambda look: int(look.minute)):
        yield list(group)[-1].row()


def _columns(values: Iterable[object]) -> str:
    return " ".join(f"{value!s:>{max(WIDTH, len(title))}}" for title, value in zip(TITLES, values, strict=True))
