"""What is measured of a queue, whichever it is. The standard library alone: peers' venvs have nothing of ours.

A script of a peer says how a task is awaited, how many are, and how its worker is started; the rest is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import Protocol

HOPS = 5
"""Awaited tasks of a round."""
CHAIN = 5
FAN, NAP = 100, 0.1
SLOTS = 100
TASKS = 2_000
"""No-op tasks that a worker process drains."""
WARM = 3

Samples = dict[str, list[float]]


class Queue(Protocol):
    """A peer in one of its ways to be set up."""

    worker: Sequence[str]
    """The command of a worker process with 100 slots."""

    async def nap(self, seconds: float) -> None:
        """Have a worker sleep, and wait for the task's result."""

    async def naps(self, count: int, seconds: float) -> None:
        """The same for many at once."""

    async def count(self, total: int) -> None:
        """Enqueue as many tasks that do nothing but count themselves; see `Counted`."""

    async def drained(self) -> float:
        """The seconds that a worker process sent once it had counted the last."""


class Counted:
    """Counts tasks in the worker process: seconds from the first to the last, once that has come."""

    def __init__(self) -> None:
        self._count = 0
        self._begun = 0.0
        self._lock = threading.Lock()

    def one(self, total: int) -> float | None:
        with self._lock:
            if not self._count:
                self._begun = time.perf_counter()
            self._count += 1
            return time.perf_counter() - self._begun if self._count == total else None


async def measure(queue: Queue, rounds: int) -> Samples:
    """The awaited round trip, a chain of five, the fan-out over its ideal, and the drain of one worker process."""
    found: Samples = {"hop_ms": [], "chain5_ms": [], "over_ideal_ms": [], "tasks_per_s": []}
    async with _working(queue):
        for _ in range(WARM):
            await queue.nap(0)
        for _ in range(rounds):
            found["hop_ms"].append(median([await _taken(queue, 1) for _ in range(HOPS)]))
            found["chain5_ms"].append(await _taken(queue, CHAIN))
            begun = time.perf_counter()
            await queue.naps(FAN, NAP)
            found["over_ideal_ms"].append((time.perf_counter() - begun - NAP) * 1000)
    for _ in range(rounds):
        await queue.count(TASKS)
        async with _working(queue):
            found["tasks_per_s"].append(TASKS / await queue.drained())
    return found


def told(samples: Samples) -> None:
    """Print what was found, for the bench that started this script."""
    print(json.dumps(samples), flush=True)


async def _taken(queue: Queue, steps: int) -> float:
    """Milliseconds for so many awaited tasks one after the other."""
    begun = time.perf_counter()
    for _ in range(steps):
        await queue.nap(0)
    return (time.perf_counter() - begun) * 1000


@contextlib.asynccontextmanager
async def _working(queue: Queue) -> AsyncIterator[None]:
    """A worker process while the block runs."""
    process = subprocess.Popen(queue.worker, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    try:
        yield
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
