"""Running workers, the queues they serve, and experts that no running worker serves.

Each worker subscribes to a channel of its own and renews a key that describes it, so no scan is needed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping

from swarm.broker.connection import Connection
from swarm.types.base import Value, received

ROUTER = "router"
"""Name for the queues of the router pool in lists of experts."""


class WorkerInfo(Value):
    """A worker's description of itself. `queues` is None if it has not written one yet."""

    worker: str
    pid: int = 0
    started: float = 0.0
    lanes: Mapping[str, tuple[int, int]] = {}
    """Busy slots and all slots, by lane."""
    queues: tuple[str, ...] | None = None
    version: str = ""
    """Version of this package; empty if unknown."""


async def running_workers(connection: Connection) -> list[WorkerInfo]:
    """List the workers that run now."""
    channels = await connection.call("PUBSUB", "CHANNELS", connection.keys.stop("*"))
    names = sorted(channel.decode().removeprefix(connection.keys.stop("")) for channel in channels)
    raw = await asyncio.gather(*(connection.call("GET", connection.keys.worker(name)) for name in names))
    # a worker that has just started has not written its description yet
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
    """Encode a worker's description of itself."""
    said = {"worker": worker, "pid": pid, "lanes": lanes, "started": started, "queues": tuple(queues)}
    return json.dumps(said | {"version": version})


def unserved(waiting: Iterable[str], workers: Iterable[WorkerInfo]) -> tuple[str, ...]:
    """Return the experts (and ROUTER) with work in `waiting` queues that none of these workers serves."""
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
    """Return the experts that this job needs and no running worker serves."""
    raw = await connection.call("HVALS", f"{connection.keys.job(job)}:live")
    return unserved({queue.decode() for queue in raw}, await running_workers(connection)) if raw else ()
