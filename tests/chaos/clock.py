"""The swarm's clock beside the machine's: events are dated by the one, faults, calls and callers by the other.

The swarm's clock is made of Redis' own and of what workers measure, so it follows one that is set for a moment only, or
by a second at most. What it was is read while a run goes on, and not worked out.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

EVERY = 0.05
"""Seconds between readings."""
TOOK = 0.03
"""Seconds that a reading may take; one that takes longer says too little of when it was."""
ALIKE = 0.05
"""Seconds by which clocks of one machine may differ in what they round."""
_READ = """
local f, t = redis.call('HMGET', KEYS[1], 'clock', 'ahead'), redis.call('TIME')
return tostring(math.max(tonumber(f[1]) or 0, t[1] * 1000 + t[2] / 1000 + (tonumber(f[2]) or 0)))
"""


@dataclass(frozen=True)
class Reading:
    """At a time of the machine the swarm's clock was so many seconds ahead of it."""

    at: float
    ahead: float


@dataclass(frozen=True)
class Span:
    """Times of the machine between which the swarm's clock may have been so far ahead."""

    begun: float
    ended: float
    ahead: float


def spans(readings: Sequence[Reading]) -> tuple[Span, ...]:
    """The readings put together as long as they agree; what lies between two that do not may be of either.

    >>> spans([Reading(1, 0.0), Reading(2, 0.01), Reading(5, -3.0)])
    (Span(begun=0.0, ended=5, ahead=0.0), Span(begun=2, ended=inf, ahead=-3.0))
    """
    groups: list[list[Reading]] = []
    for each in readings:
        if groups and abs(each.ahead - groups[-1][0].ahead) <= ALIKE:
            groups[-1].append(each)
        else:
            groups.append([each])
    begins = [0.0, *(group[-1].at for group in groups[:-1])]
    ends = [*(group[0].at for group in groups[1:]), float("inf")]
    return tuple(Span(begun, ended, group[0].ahead) for begun, ended, group in zip(begins, ends, groups, strict=True))


@contextlib.asynccontextmanager
async def followed(url: str, key: str) -> AsyncIterator[list[Reading]]:
    """Read the clock that a swarm keeps under `key` while the block runs; the list is full after it."""
    found: list[Reading] = []
    over = threading.Event()

    def read() -> None:
        with redis.Redis.from_url(url, socket_timeout=1.0) as client:
            while not over.wait(EVERY):
                found.extend(_reading(client, key))

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        yield found
    finally:
        over.set()
        await reading


def _reading(client: Any, key: str) -> Iterator[Reading]:
    """One of them; none where Redis does not answer at once."""
    before = time.time()
    try:
        told = float(client.eval(_READ, 1, key)) / 1000
    except redis.RedisError:
        return
    after = time.time()
    if after - before <= TOOK:
        yield Reading((before + after) / 2, told - (before + after) / 2)
