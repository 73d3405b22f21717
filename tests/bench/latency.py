"""How long one thing takes when nothing else is going on: hop, job, chain, fanout, critical.

The client, one router process and one expert process are idle before each sample, and samples come one after another.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from importlib.resources import files
from statistics import median

from swarm.broker.connection import LIBRARY
from swarm.broker.keys import expert_queue
from swarm.broker.queue import record
from swarm.settings import Settings
from swarm.types.events import OutcomeRecorded
from swarm.types.plan import Plan, Subtask
from swarm.types.request import Envelope
from tests.bench.experts import NAP_CARD
from tests.bench.report import Samples, p95
from tests.bench.rig import ROUTER, BenchError, Rig, naps, rig
from tests.bench.serve import Pool

NO_OP = naps(0)
WARM = 20
"""Samples that are thrown away first."""
FAN, NAP_MS = 100, 100
OUTCOME = 30.0
"""Seconds until a delivery without an outcome is given up."""


async def hop(rounds: int, samples: int = 50) -> Samples:
    """From enqueueing a bare delivery to its outcome, as a client's event stream has it. No router runs."""
    async with rig(Pool()) as bench:
        deliveries = await Deliveries.open(bench)
        await deliveries.seen(WARM)
        seen = [await deliveries.seen(samples) for _ in range(rounds)]
    return {"hop_ms": [median(times) for times in seen], "hop_p95_ms": [p95(times) for times in seen]}


async def job(rounds: int, samples: int = 50) -> Samples:
    """A whole job of one given subtask, submit to answer."""
    times = await _jobs(NO_OP, rounds, samples)
    return {"job_ms": [median(taken) for taken in times], "job_p95_ms": [p95(taken) for taken in times]}


async def chain(rounds: int, samples: int = 20) -> Samples:
    """One job that is a chain of five given subtasks: ten hops."""
    times = await _jobs(naps(0, 0, 0, 0, 0, chain=True), rounds, samples)
    return {"chain5_ms": [median(taken) for taken in times], "chain5_p95_ms": [p95(taken) for taken in times]}


async def fanout(rounds: int) -> Samples:
    """One job of 100 subtasks of 100 ms on 100 slots, over the 100 ms that it must take."""
    plan = naps(*[NAP_MS / 1000] * FAN)
    async with rig(ROUTER, Pool(slots=FAN), settings=Settings(window=FAN)) as bench:
        await asked(bench, plan)
        return {"over_ideal_ms": [await asked(bench, plan) - NAP_MS for _ in range(rounds)]}


async def critical(rounds: int) -> Samples:
    """A job whose critical path is 2.00 s: 0.5 s and then 0.5 s, beside 2.0 s, then a join of both."""
    plan = Plan.read(
        [
            {"id": "a", "expert": "nap", "instruction": "nap 0.5"},
            {"id": "b", "expert": "nap", "instruction": "nap 0.5", "depends_on": ["a"]},
            {"id": "c", "expert": "nap", "instruction": "nap 2"},
            {"id": "join", "expert": "nap", "instruction": "nap 0", "depends_on": ["b", "c"]},
        ]
    )
    async with rig(ROUTER, Pool()) as bench:
        await asked(bench, NO_OP)
        return {"seconds": [await asked(bench, plan) / 1000 for _ in range(rounds)]}


async def _jobs(plan: Plan, rounds: int, samples: int) -> list[list[float]]:
    async with rig(ROUTER, Pool()) as bench:
        for _ in range(WARM):
            await asked(bench, plan)
        return [[await asked(bench, plan) for _ in range(samples)] for _ in range(rounds)]


async def asked(bench: Rig, plan: Plan) -> float:
    """Milliseconds from submit to answer."""
    begun = time.perf_counter()
    answer = await bench.client.ask("a bench", plan=plan)
    taken = (time.perf_counter() - begun) * 1000
    if answer.ending != "completed":
        raise BenchError(f"a job ended {answer.ending}: {answer.reason}")
    return taken


class Deliveries:
    """Enqueues bare deliveries of one job with the queue's own Lua function, and waits for their outcomes."""

    def __init__(self, bench: Rig, script: str, job: str) -> None:
        self._bench, self._script, self._job, self._count = bench, script, job, 0
        self._events = bench.client.job(job).events()

    @classmethod
    async def open(cls, bench: Rig, plan: Plan = NO_OP) -> Deliveries:
        """Of a job with this plan, which must not end meanwhile: no router runs, or nobody serves its expert."""
        library = "".join((files("swarm.broker") / "scripts" / f"{part}.lua").read_text() for part in LIBRARY)
        text = library + "\nenqueue(ARGV[1], ARGV[2], ARGV[3], ARGV[4], clock()) keep_turns()"
        await bench.connection.call("SCRIPT", "LOAD", text)
        accepted = await bench.client.submit("a bench", plan=plan)
        return cls(bench, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), accepted.id)

    async def seen(self, samples: int) -> list[float]:
        """Milliseconds until each outcome comes out of the client's event stream."""
        times = []
        for _ in range(samples):
            begun, subtask = await self._enqueue()
            await self._outcome_of(subtask)
            times.append((time.perf_counter() - begun) * 1000)
        return times

    async def _enqueue(self) -> tuple[float, str]:
        self._count += 1
        subtask = Subtask(id=f"hop{self._count}", expert="nap", instruction="nap 0")
        envelope = Envelope(job=self._job, subtask=subtask, attempt=1, expert="nap", catalog=self._bench.version)
        payload = record("run", envelope.model_dump_json(exclude_defaults=True))
        delivery, queue = f"{self._job}:{subtask.id}:1", expert_queue(NAP_CARD)
        prefix = self._bench.connection.keys.prefix
        begun = time.perf_counter()
        await self._bench.connection.call("EVALSHA", self._script, 1, prefix, self._job, delivery, queue, payload)
        return begun, subtask.id

    async def _outcome_of(self, subtask: str) -> None:
        try:
            async with asyncio.timeout(OUTCOME):
                async for event in self._events:
                    if isinstance(event, OutcomeRecorded) and event.subtask == subtask:
                        return
        except TimeoutError:
            pass
        raise BenchError(f"no outcome of {subtask}")
