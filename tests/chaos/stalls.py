"""How slow the machine was, measured by processes that want little: python -m tests.chaos.stalls

Each naps, then computes for a few milliseconds. What a nap takes too long, and what the computation takes beyond its
own CPU time, is time that the machine gave to others: bounds on how fast the swarm must be are widened by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NAP = 0.2
WORK = 0.01
"""Seconds of CPU that each sample computes for."""
WORTH = 0.01
"""Seconds of waiting from which a sample is worth a line."""


@dataclass(frozen=True)
class Stall:
    """Between `at` and `until`, by the machine's clock, a process that could run waited so many seconds."""

    at: float
    until: float
    waited: float


def sample() -> Stall:
    """Nap and work once."""
    at, begun = time.time(), time.monotonic()
    time.sleep(NAP)
    before = time.thread_time()
    while time.thread_time() - before < WORK:
        pass
    used = time.thread_time() - before
    took = time.monotonic() - begun
    return Stall(at, at + took, max(0.0, took - NAP - used))


@contextlib.asynccontextmanager
async def measured() -> AsyncIterator[list[Stall]]:
    """Measure while the block runs; the list is full after it."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.chaos.stalls"]
    process = await create_subprocess_exec(*command, stdout=PIPE, start_new_session=True, cwd=root)
    found: list[Stall] = []

    async def listen() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            found.append(Stall(*map(float, line.split())))

    listening = asyncio.create_task(listen())
    try:
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening


def waited(stalls: Sequence[Stall], begun: float, ended: float) -> float:
    """Seconds between two times in which processes waited for the machine."""
    return sum(
        each.waited * (min(each.until, ended) - max(each.at, begun)) / (each.until - each.at)
        for each in stalls
        if each.at < ended and each.until > begun
    )


def main() -> None:
    while True:
        found = sample()
        if found.waited >= WORTH:
            print(found.at, found.until, found.waited, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
