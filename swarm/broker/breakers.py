"""The breakers of some endpoints and models. How they open and close is told in `limiters.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection
from swarm.broker.limiters import target
from swarm.broker.snapshot import breaker_of
from swarm.broker.snapshot_types import Breaker


async def broken(connection: Connection, names: Iterable[str]) -> tuple[dict[str, Breaker], int]:
    """Those that are open, by endpoint or `endpoint/model`, and Redis' time in milliseconds.

    Raises BrokerErrors, and BadInput for what is no such name.
    """
    every = sorted(set(names))
    gates = [connection.keys.gate(target(name)) for name in every]
    fields = await asyncio.gather(*(connection.call("HMGET", gate, "broken", "shut") for gate in gates))
    now = int(await now_ms(connection))
    found = {}
    for name, (since, until) in zip(every, fields, strict=True):
        if since is not None and until is not None:
            found[name] = breaker_of({"broken": since.decode(), "shut": until.decode()}, now)
    return {name: breaker for name, breaker in found.items() if breaker is not None}, now
