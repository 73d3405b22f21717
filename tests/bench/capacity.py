"""How much goes through at once: throughput, slots."""

from __future__ import annotations

import asyncio
import os
import time

from swarm.events import OutcomeRecorded, Started
from swarm.settings import Settings
from tests.bench.report import Samples, most_at_once
from tests.bench.rig import ROUTER, BenchError, naps, rig
from tests.bench.serve import Pool

JOBS, SUBTASKS = 300, 10
WORKERS, SLOTS, HELD = 16, 20, 3.0


async def throughput(rounds: int) -> Samples:
    """No-op subtasks per second, in jobs of ten, from the first submit to the last answer.

    One expert process, one router process and one client that submits all jobs at once and waits for each. What each
    process spends per subtask is in processor time, which a busy machine changes less than the rate.
    """
    plan = naps(*[0.0] * SUBTASKS)
    found: dict[str, list[float]] = {"subtasks_per_s": []}
    async with rig(ROUTER, Pool(slots=100)) as bench:
        names = dict(zip(("router", "worker", "redis", "client"), (*bench.pids, bench.redis, os.getpid()), strict=True))
        await asyncio.gather(*(bench.client.ask("a bench", plan=plan) for _ in range(20)))
        for _ in range(rounds):
            before = {name: bench.cpu(pid) for name, pid in names.items()}
            begun = time.perf_counter()
            answers = await asyncio.gather(*(bench.client.ask("a bench", plan=plan) for _ in range(JOBS)))
            found["subtasks_per_s"].append(JOBS * SUBTASKS / (time.perf_counter() - begun))
            for name, pid in names.items():
                spent = (bench.cpu(pid) - before[name]) * 1000 / (JOBS * SUBTASKS)
                found.setdefault(f"{name}_cpu_ms", []).append(spent)
            if any(answer.ending != "completed" for answer in answers):
                raise BenchError("not every job completed")
    return found


async def slots(rounds: int) -> Samples:
    """How many of 16 x 20 slots are busy at once, and the seconds from submit until the last began."""
    total = WORKERS * SLOTS
    found: dict[str, list[float]] = {"busy": [], "fill_seconds": []}
    async with rig(ROUTER, *[Pool(slots=SLOTS)] * WORKERS, settings=Settings(window=total)) as bench:
        for _ in range(rounds):
            job = await bench.client.submit("a bench", plan=naps(*[HELD] * total))
            await job.answer()
            events = [event async for event in job.events()]
            begun = [event.at for event in events if isinstance(event, Started)]
            ended = [event.at for event in events if isinstance(event, OutcomeRecorded)]
            found["busy"].append(most_at_once(begun, ended))
            found["fill_seconds"].append((max(begun) - events[0].at) / 1000)
    return found
