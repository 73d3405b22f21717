# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore, no-any-return"
"""SAQ: python -m tests.bench.peers.with_saq default|best URL ROUNDS, or `worker` for its worker process.

`default` awaits with `Queue.apply` and `Queue.map` as they are; `best` waits for the result's message
(`Job.refresh(until_complete=...)`), which may be missed where the task is faster than the subscription: asked again
after a fifth of a second then.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import uvloop
from saq import Queue, Worker

from tests.bench.peers.measures import SLOTS, Counted, measure, told

DRAINED = "bench:drained"
AGAIN = 0.2
counted = Counted()


async def nap(ctx: dict[str, Any], *, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def count(ctx: dict[str, Any], *, total: int) -> None:
    if (taken := counted.one(total)) is not None:
        await ctx["worker"].queue.redis.rpush(DRAINED, taken)


class Saq:
    def __init__(self, way: str, url: str, queue: Any) -> None:
        self._push, self._queue = way == "best", queue
        self.worker: Sequence[str] = [sys.executable, "-m", __spec__.name, "worker", way, url]

    async def nap(self, seconds: float) -> None:
        if not self._push:
            await self._queue.apply("nap", seconds=seconds)
            return
        job = await self._queue.enqueue("nap", seconds=seconds)
        while not job.completed:
            with contextlib.suppress(TimeoutError):
                await job.refresh(until_complete=AGAIN)

    async def naps(self, count: int, seconds: float) -> None:
        if self._push:
            await asyncio.gather(*(self.nap(seconds) for _ in range(count)))
        else:
            await self._queue.map("nap", [{"seconds": seconds}] * count)

    async def count(self, total: int) -> None:
        await asyncio.gather(*(self._queue.enqueue("count", total=total) for _ in range(total)))

    async def drained(self) -> float:
        _, taken = await self._queue.redis.blpop([DRAINED], timeout=120)
        return float(taken)


async def main(way: str, url: str, rounds: int) -> None:
    queue = Queue.from_url(url)
    await queue.connect()
    await queue.sweep(lock=3_600)  # else a worker that starts takes tasks for stuck that another one just took
    told(await measure(Saq(way, url, queue), rounds))
    await queue.disconnect()


async def work(url: str) -> None:
    functions: list[tuple[str, Any]] = [("nap", nap), ("count", count)]
    await Worker(Queue.from_url(url), functions, concurrency=SLOTS).start()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        uvloop.run(work(sys.argv[3]))
    else:
        uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
