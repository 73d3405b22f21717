# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore, no-any-return"
"""arq: python -m tests.bench.peers.with_arq default|best URL ROUNDS, or `worker` for its worker process.

`best` polls every 10 ms on both sides, which is what its documentation has for latency (`poll_delay`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func

from tests.bench.peers.measures import SLOTS, Counted, measure, told

POLL = {"default": 0.5, "best": 0.01}
DRAINED = "bench:drained"
counted = Counted()


async def nap(ctx: dict[str, Any], seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def count(ctx: dict[str, Any], total: int) -> None:
    if (taken := counted.one(total)) is not None:
        await ctx["redis"].rpush(DRAINED, taken)


class Arq:
    def __init__(self, way: str, url: str, pool: ArqRedis) -> None:
        self._poll, self._pool = POLL[way], pool
        self.worker: Sequence[str] = [sys.executable, "-m", __spec__.name, "worker", way, url]

    async def nap(self, seconds: float) -> None:
        job = await self._pool.enqueue_job("nap", seconds)
        assert job is not None
        await job.result(poll_delay=self._poll)

    async def naps(self, count: int, seconds: float) -> None:
        await asyncio.gather(*(self.nap(seconds) for _ in range(count)))

    async def count(self, total: int) -> None:
        for _ in range(total):
            await self._pool.enqueue_job("count", total)

    async def drained(self) -> float:
        reply: Any = self._pool.blpop([DRAINED], timeout=120)
        return float((await reply)[1])


async def main(way: str, url: str, rounds: int) -> None:
    pool = await create_pool(RedisSettings.from_dsn(url))
    told(await measure(Arq(way, url, pool), rounds))
    await pool.aclose()


def work(way: str, url: str) -> None:
    functions = [func(nap, name="nap"), func(count, name="count")]
    worker = Worker(functions, redis_settings=RedisSettings.from_dsn(url), max_jobs=SLOTS, poll_delay=POLL[way])
    worker.run()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        if sys.argv[2] == "best":
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        work(sys.argv[2], sys.argv[3])
    else:
        uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
