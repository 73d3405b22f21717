# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore, no-any-return, misc, untyped-decorator"
"""Celery: python -m tests.bench.peers.with_celery default|best URL ROUNDS; `celery -A` this module is its worker.

A pool of 100 threads in both ways, since a task sleeps and prefork has as many slots as cores. `best` takes from its
optimizing guide what is meant for short tasks: a greater prefetch multiplier, transient messages, no events; and turns
off gossip and mingle.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, group
from redis import Redis

from tests.bench.peers.measures import SLOTS, Counted, measure, told

URL = os.environ.get("BENCH_REDIS", "")
WAY = os.environ.get("BENCH_WAY", "default")
DRAINED = "bench:drained"
BEST = {
    "worker_prefetch_multiplier": 50,
    "task_default_delivery_mode": "transient",
    "worker_send_task_events": False,
    "task_send_sent_event": False,
}

app = Celery("bench", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True
if WAY == "best":
    app.conf.update(BEST)
counted = Counted()


@app.task(name="nap")
def nap(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)


@app.task(name="count")
def count(total: int) -> None:
    if (taken := counted.one(total)) is not None:
        Redis.from_url(URL).rpush(DRAINED, taken)


class InCelery:
    def __init__(self, redis: Any) -> None:
        self._redis = redis
        quiet = ["--without-gossip", "--without-mingle"] if WAY == "best" else []
        pool = ["--pool", "threads", "--concurrency", str(SLOTS), "--loglevel", "error"]
        self.worker: Sequence[str] = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "tests.bench.peers.with_celery",
            "worker",
            *pool,
            *quiet,
        ]

    async def nap(self, seconds: float) -> None:
        nap.delay(seconds).get()

    async def naps(self, count: int, seconds: float) -> None:
        group(nap.s(seconds) for _ in range(count))().get()

    async def count(self, total: int) -> None:
        for _ in range(total):
            count.delay(total)

    async def drained(self) -> float:
        _, taken = self._redis.blpop([DRAINED], timeout=120)
        return float(taken)


if __name__ == "__main__":
    # the module that a worker loads is another one than this: tasks are known by name
    os.environ |= {"BENCH_WAY": sys.argv[1], "BENCH_REDIS": sys.argv[2]}
    from tests.bench.peers import with_celery

    told(asyncio.run(measure(with_celery.InCelery(Redis.from_url(sys.argv[2], socket_timeout=None)), int(sys.argv[3]))))
