"""Plays a schedule of faults on what runs, and notes what was done and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.fleet import Fleet
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import EACH, Fault
from tests.integration.processes import OwnRedis

LOADS = 60.0
"""Seconds that Redis may take to read its append-only file on a machine that is busy."""
BREATH = 5.0
"""Seconds that it is there at least."""


@dataclass(frozen=True)
class Struck:
    """A fault as it was, by the clock of the machine."""

    kind: str
    target: str
    at: float
    until: float


class Injector:
    """Breaks things until `stop`; what it has broken it has mended when `stop` returns."""

    def __init__(self, seed: int, faults: Iterable[Fault], fleet: Fleet, redis: OwnRedis, proxy: Proxy) -> None:
        self._faults, self._fleet, self._redis, self._proxy = faults, fleet, redis, proxy
        self._chance = random.Random(f"{seed}:links")
        self._mending: set[asyncio.Task[None]] = set()
        self._restarting = asyncio.Lock()
        self.struck: list[Struck] = []

    async def run(self) -> None:
        """Go through the schedule, which may have no end. Raises when something could not be mended."""
        begun = asyncio.get_running_loop().time()
        for fault in self._faults:
            await asyncio.sleep(begun + fault.at - asyncio.get_running_loop().time())
            for task in self._mending:
                if task.done():
                    task.result()  # raises: something could not be mended, and the rest of the run would mean nothing
            task = asyncio.create_task(self._strike(fault))
            self._mending.add(task)
            task.add_done_callback(self._mended)

    async def stop(self) -> None:
        """Wait until everything is mended. Raises what went wrong in it."""
        while self._mending:
            await asyncio.gather(*self._mending)

    def _mended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._mending.discard(task)  # one that failed stays, for `stop` to raise

    async def _strike(self, fault: Fault) -> None:
        at = time.time()
        if fault.kind == "net":
            self._disturb(fault)
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "redis":
            if self._restarting.locked():
                return  # it is still coming up; a Redis that is never there proves nothing
            async with self._restarting:
                self._redis.kill()
                await asyncio.sleep(fault.seconds)
                await self._redis.start(LOADS)
                await asyncio.sleep(BREATH)
        else:
            place = self._victim(fault.target)
            if place is None:
                return
            self.struck.append(Struck(fault.kind, place, at, at))
            await self._fleet.end(place, fault.kind)
            await asyncio.sleep(fault.seconds)
            await self._fleet.start(place)
            return
        self.struck.append(Struck(fault.kind, fault.target, at, time.time()))

    def _victim(self, place: str) -> str | None:
        """This place or another of its role; None if that would leave nobody of the role."""
        role, number = place[:-1], int(place[-1])
        places = [f"{role}{(number + step) % EACH}" for step in range(EACH)]
        return places[0] if all(map(self._fleet.alive, places)) else None

    def _disturb(self, fault: Fault) -> None:
        links = self._proxy.some(self._chance, fault.share)
        match fault.target:
            case "cut":
                self._proxy.cut(links)
            case "lose":
                self._proxy.lose(links)
            case _:
                self._proxy.hold(links, fault.seconds)
