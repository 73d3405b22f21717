"""Many answers that are streamed at once through one router process: how soon they are seen, what they take, and how
soon the connections of those that are cancelled are closed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psutil

from swarm.client.client import Job
from swarm.settings import Settings
from swarm.testing.model_server import DONE, ModelServer, Received, Stream, chunk
from swarm.testing.openai_payloads import USAGE
from swarm.types.plan import Plan
from tests.bench.experts import TEMPLATE_CARD
from tests.bench.report import Metric, Samples, p95
from tests.bench.rig import BenchError, rig, until
from tests.bench.serve import Pool

STREAMS = 200
CANCELLED = STREAMS // 2
SPREAD, EACH = 1.0, 0.25
"""Seconds in which all streams begin to write, and between two pieces of one."""
STEADY = 2.0
"""Seconds for which all streams run before memory is read."""
METRICS = {
    "first_ms": Metric("ms", row="200 streamed answers: first delta at the client over the model server's own, median"),
    "first_p95_ms": Metric("ms", row="the same, p95"),
    "late_ms": Metric("ms", row="the same, a piece of a running stream, median"),
    "kb_each": Metric("kB", row="the same, memory of the router for each"),
    "closed_ms": Metric("ms", "≤ 200", row="the same, half of them cancelled: their 100 connections closed"),
    "cpu": Metric("% of a core"),
}
PLAN = {
    "subtasks": [{"id": name, "expert": "echo", "instruction": name} for name in ("a", "b")],
    "aggregate": "synthesis",
}


async def streams(rounds: int) -> Samples:
    """200 jobs at once whose answers a model writes. Once all streams are open each begins, within a second, and has
    four pieces a second until the bench has seen enough.

    A job's own prompt tells the server whose stream it is. `first_ms` is from the moment when the server sends a
    stream's first piece to the moment when the client of its job has it; each piece holds the moment at which it was
    sent. `kb_each` is what the router's unshared memory has grown by since it wrote a single answer. `closed_ms` is
    from the cancel of the first of 100 jobs to the moment when the server sees the last of their connections closed.
    """
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    writer = Writer()
    async with ModelServer(writer) as server:
        router = Pool(router=True, environ={"SWARM_ENDPOINT_BENCH_URL": server.url})
        settings = Settings(synthesis="bench/writer", router_slots=STREAMS)
        async with rig(router, Pool(slots=100), settings=settings, cards=[TEMPLATE_CARD]) as bench:
            pid = bench.pids[0]
            writer.go.set()
            writer.over.set()
            await _answered([await _submitted(bench.client, 0)])  # loads what a call needs
            empty = psutil.Process(pid).memory_full_info().uss
            for _ in range(rounds):
                writer.begin()
                jobs = await asyncio.gather(*(_submitted(bench.client, n) for n in range(STREAMS)))
                views = [View(n) for n in range(STREAMS)]
                watching = [asyncio.create_task(view.watch(job)) for view, job in zip(views, jobs, strict=True)]
                await _open(server)
                writer.go.set()
                await _seen(views)
                used = bench.cpu(pid)
                await asyncio.sleep(STEADY)
                found["cpu"].append((bench.cpu(pid) - used) / STEADY * 100)
                grown = psutil.Process(pid).memory_full_info().uss - empty
                over = [(view.first - writer.first[view.number]) * 1000 for view in views]
                found["kb_each"].append(grown / STREAMS / 1000)
                found["first_ms"].append(median(over))
                found["first_p95_ms"].append(p95(over))
                found["late_ms"].append(median(late * 1000 for view in views for late in view.late))
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
                found["closed_ms"].append(await _cancelled(jobs[:CANCELLED], writer))
                writer.over.set()
                await _answered(jobs[CANCELLED:])
    return found


class Writer:
    """The script of the model server: streams begin to write at `go`, and end at `over`."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.go, self.over = asyncio.Event(), asyncio.Event()
        self.first: dict[int, float] = {}
        """Stream -> when its first piece was sent."""
        self.closed: dict[int, float] = {}

    def __call__(self, request: Received) -> Stream:
        named = re.search(r"stream (\d+) of", str(request.body["messages"]))
        return Stream(self._pieces(int(named[1]) if named else -1))

    async def _pieces(self, number: int) -> AsyncIterator[Any]:
        go, over, closed = self.go, self.over, self.closed
        try:
            await go.wait()
            await asyncio.sleep(SPREAD * number / STREAMS)
            self.first[number] = time.perf_counter()
            yield chunk(f"{time.perf_counter():.6f} ")
            while not over.is_set():
                await asyncio.sleep(EACH)
                yield chunk(f"{time.perf_counter():.6f} ")
            yield chunk(finish_reason="stop")
            yield chunk(choices=[], usage=USAGE)
            yield DONE
        finally:
            closed[number] = time.perf_counter()


@dataclass
class View:
    """What the client of a job sees of its answer."""

    number: int
    first: float = 0.0
    late: list[float] = field(default_factory=list)
    """Of pieces, how long each took to come."""

    async def watch(self, job: Job) -> None:
        async for delta in job.deltas():
            now = time.perf_counter()
            self.first = self.first or now
            self.late += [now - float(sent) for sent in delta.text.split()]


async def _submitted(client: Any, number: int) -> Job:
    job: Job = await client.submit(f"Answer stream {number} of a bench.", plan=Plan.read(PLAN))
    return job


async def _open(server: ModelServer) -> None:
    async def all_open() -> bool:
        return server.open == STREAMS

    await until(all_open, f"{STREAMS} streams are open", 60)


async def _seen(views: Sequence[View]) -> None:
    async def all_seen() -> bool:
        return all(view.first for view in views)

    await until(all_seen, "every stream was seen", 60, 0.05)


async def _cancelled(jobs: Sequence[Job], writer: Writer) -> float:
    """Milliseconds from the first cancel until the model server has seen all of their streams closed."""
    begun = time.perf_counter()

    async def gone() -> bool:
        return len(writer.closed) >= len(jobs)

    receipts = await asyncio.gather(*(job.cancel() for job in jobs))
    await until(gone, "every cancelled stream is closed", 10)
    if len(writer.closed) != len(jobs) or any(receipt.ending != "cancelled" for receipt in receipts):
        raise BenchError(f"{len(writer.closed)} streams were closed, {len(jobs)} jobs cancelled")
    return (max(writer.closed.values()) - begun) * 1000


async def _answered(jobs: Sequence[Job]) -> None:
    answers = await asyncio.gather(*(job.answer(30) for job in jobs))
    if wrong := [answer for answer in answers if answer.aggregate != "synthesis" or answer.ending != "completed"]:
        raise BenchError(f"{len(wrong)} of {len(jobs)} answers were not written by the model: {wrong[0].reason}")
