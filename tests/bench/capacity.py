"""How much goes through at once: throughput, slots, rate."""

from __future__ import annotations

import asyncio
import os
import time

from experts.catalog.loader import versioned
from swarm.settings import Settings
from swarm.types.card import Limits
from swarm.types.events import OutcomeRecorded, Started
from tests.bench.experts import TEMPLATE_CARD
from tests.bench.report import Samples, most_at_once, most_within
from tests.bench.rig import ROUTER, BenchError, naps, rig
from tests.bench.serve import Pool

JOBS, SUBTASKS = 300, 10
LOOKED_AT = 50
"""Jobs of a round whose log is read to see that nothing ran twice."""
WORKERS, SLOTS, HELD = 16, 20, 3.0
RATE, BURST, LIMITED = 20, 5, 45
LIMITED_CARD = versioned(
    TEMPLATE_CARD.model_copy(update={"limits": Limits(requests_per_minute=60 * RATE, burst=BURST)})
)
REFILL = 2.0 * BURST / RATE
"""Seconds after which a bucket is full again."""


async def throughput(rounds: int) -> Samples:
    """No-op subtasks per second, in jobs of ten, from the first submit to the last answer.

    One expert process, one router process and one client that submits all jobs at once and waits for each. Both
    processes write their log, a line for each subtask and for the end of each job. What each process spends per subtask
    is in processor time, which a busy machine changes less than the rate.
    """
    plan = naps(*[0.0] * SUBTASKS)
    found: dict[str, list[float]] = {"subtasks_per_s": []}
    async with rig(Pool(router=True, logs=True), Pool(slots=100, logs=True)) as bench:
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
            await bench.check_once(answer.job for answer in answers[:LOOKED_AT])
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
            await bench.check_once([job.id])
            found["busy"].append(most_at_once(begun, ended))
            found["fill_seconds"].append((max(begun) - events[0].at) / 1000)
    return found


async def rate(rounds: int) -> Samples:
    """One job of 45 no-op subtasks of an expert that may begin 20 in a second, 5 at once, on two worker processes.

    `seconds` is from the first start to the last: 5 at once and then 40 at 20 a second are 2.00 s. Each subtask must
    have started once, on its first attempt, and no second may have more starts than the limit and the burst allow.
    """
    found: dict[str, list[float]] = {"seconds": [], "job_seconds": [], "starts_in_a_second": []}
    async with rig(ROUTER, Pool(), Pool(), cards=[LIMITED_CARD]) as bench:
        for _ in range(rounds):
            await asyncio.sleep(REFILL)
            begun = time.perf_counter()
            job = await bench.client.submit("a bench", plan=naps(*[0.0] * LIMITED, expert=LIMITED_CARD.name))
            answer = await job.answer()
            found["job_seconds"].append(time.perf_counter() - begun)
            starts = [event async for event in job.events() if isinstance(event, Started)]
            if answer.ending != "completed" or sorted((s.attempt, s.claim) for s in starts) != [(1, 1)] * LIMITED:
                raise BenchError(f"the job ended {answer.ending} with {len(starts)} starts of {LIMITED} subtasks")
            at = [start.at / 1000 for start in starts]
            found["seconds"].append(max(at) - min(at))
            found["starts_in_a_second"].append(most_within(at, 1.0))
    if (most := max(found["starts_in_a_second"])) > RATE + BURST + 1:
        raise BenchError(f"{most} subtasks started within one second; the limit is not held")
    return found
