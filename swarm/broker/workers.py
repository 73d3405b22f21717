"""Which workers are there now, what they serve, and what waits for one that is not there.

Each worker listens on a channel of its own and renews a key that says what it is; nothing has to be searched for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping

from swarm.broker.connection import Connection
from swarm.types.base import Value, received

ROUTER = "router"
"""What stands for the queues of the router pool where experts are named."""


class WorkerInfo(Value):
    """What a worker says of itself. `queues` is None for one that has not said."""

    worker: str
    pid: int = 0
    started: float = 0.0
    lanes: Mapping[str, tuple[int, int]] = {}
    """Slots that are busy, and all, by lane."""
    queues: tuple[str, ...] | None = None
    version: str = ""
    """Of this package, as far as it says so."""


async def running_workers(connection: Connection) -> list[WorkerInfo]:
    """The workers that run now."""
    channels = await connection.call("PUBSUB", "CHANNELS", connection.keys.stop("*"))
    names = sorted(channel.decode().removeprefix(connection.keys.stop("")) for channel in channels)
    raw = await asyncio.gather(*(connection.call("GET", connection.keys.worker(name)) for name in names))
    # one that has only just come has said nothing of itself yet
    return [
        received(WorkerInfo, said) if said else WorkerInfo(worker=name) for name, said in zip(names, raw, strict=True)
    ]


def about(
    worker: str,
    pid: int,
    started: float,
    lanes: Mapping[str, tuple[int, int]],
    queues: Iterable[str],
    version: str = "",
) -> str:
    """The same, as a worker writes it."""
    said = {"worker": worker, "pid": pid, "lanes": lanes, "started": started, "queues": tuple(queues)}
    return json.dumps(said | {"version": version})


def unserved(waiting: Iterable[str], workers: Iterable[WorkerInfo]) -> tuple[str, ...]:
    """Of queues in which something waits, the experts (and ROUTER) that none of these workers serves."""
    served: set[str] = set()
    for worker in workers:
        if worker.queues is None:
            return ()
        served.update(worker.queues)
    return tuple(sorted({expert_of(queue) for queue in waiting if queue not in served}))


def expert_of(queue: str) -> str:
    """
    >>> expert_of("run:refund-policy"), expert_of("run:tax@2"), expert_of("advance")
    ('refund-policy', 'tax', 'router')
    """
    kind, mark, name = queue.partition(":")
    return name.partition("@")[0] if mark and kind == "run" else ROUTER


async def unserved_of(connection: Connection, job: str) -> tuple[str, ...]:
    """What a job waits for and nobody serves now."""
    raw = await connection.call("HVALS", f"{connection.keys.job(job)}:live")
    return unserved({queue.decode() for queue in raw}, await running_workers(connection)) if raw else ()
