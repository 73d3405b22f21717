"""Plays a schedule of faults on what runs, and notes what was done and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tests.chaos.fleet import Fleet
from tests.chaos.proxy import Link, Proxy
from tests.chaos.schedule import EACH, LASTS, WIRE, Fault, ways
from tests.chaos.shims import Shim
from tests.integration.own_redis import OwnRedis

LOADS = 60.0
"""Seconds that Redis may take to read its append-only file on a machine that is busy."""
BREATH = 5.0
"""Seconds that it is there at least."""
STALL, BETWEEN = (0.2, 0.9), (0.3, 1.1)
"""Seconds of one stall of several, and until the next."""
IDLE = 0.5
"""Seconds between faults on wires over which nothing goes."""


@dataclass(frozen=True)
class Struck:
    """A fault as it was, by the clock of the machine."""

    kind: str
    target: str
    at: float
    until: float


@dataclass(frozen=True)
class Stage:
    """What can be broken. `publish` makes another edition of the catalog the current one."""

    fleet: Fleet
    redis: OwnRedis
    proxy: Proxy
    shim: Shim | None
    publish: Callable[[], Awaitable[None]]
    slower: float = 1.0
    """How many times as long as drawn an fsync takes."""


class Injector:
    """Breaks things until `stop`; what it has broken it has mended when `stop` returns."""

    def __init__(self, seed: int, stage: Stage) -> None:
        self._stage, self._fleet, self._proxy = stage, stage.fleet, stage.proxy
        self._chance = random.Random(f"{seed}:links")
        self._mending: set[asyncio.Task[None]] = set()
        self._redis_busy = asyncio.Lock()
        self.struck: list[Struck] = []

    async def run(self, faults: Iterable[Fault]) -> None:
        """Go through the schedule, which may have no end. Raises when something could not be mended."""
        begun = asyncio.get_running_loop().time()
        for fault in faults:
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
        if self._stage.shim is not None and any(each.kind == "clock" for each in self.struck):
            self._set_clock("+0")

    async def idle(self, kinds: Iterable[str], *, tls: bool = False) -> None:
        """Strike every wire in every way of these kinds, while nothing goes over them."""
        for kind in kinds:
            for way in dict.fromkeys(ways(kind, tls=tls)):
                await self._on_wire(Fault(0.0, kind, way, LASTS.get(way, (0.0, 0.0))[0], 1.0))
                await asyncio.sleep(IDLE)

    def _mended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._mending.discard(task)  # one that failed stays, for `stop` to raise

    async def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "net" | "reset":
                await self._on_wire(fault)
            case "redis" | "stall" if self._redis_busy.locked():
                pass  # it is still coming up; a Redis that is never there proves nothing
            case "redis":
                async with self._redis_busy:
                    await self._restart(fault)
            case "stall":
                async with self._redis_busy:
                    await self._stall(fault)
            case "fsync":
                await self._slow_disk(fault)
            case "clock":
                self._set_clock(fault.target)
            case "catalog":
                at = time.time()
                await self._stage.publish()
                self._note(fault, at)
            case _:
                await self._on_process(fault)

    def _note(self, fault: Fault, at: float, until: float = 0.0, target: str = "") -> None:
        kind = "net" if fault.kind in WIRE else fault.kind
        self.struck.append(Struck(kind, target or fault.target, at, until or time.time()))

    # -- processes

    async def _on_process(self, fault: Fault) -> None:
        place = self._victim(fault.target)
        if place is None:
            return
        at = time.time()
        if fault.kind == "stop":
            with self._fleet.stopped(place):
                await asyncio.sleep(fault.seconds)
            self._note(fault, at, target=place)
            return
        self._note(fault, at, at, place)
        await self._fleet.end(place, fault.kind)
        await asyncio.sleep(fault.seconds)
        await self._fleet.start(place)

    def _victim(self, place: str) -> str | None:
        """This place or another of its role; None if that would leave nobody of the role."""
        role, number = place[:-1], int(place[-1])
        places = [f"{role}{(number + step) % EACH}" for step in range(EACH)]
        return places[0] if all(map(self._fleet.alive, places)) else None

    # -- Redis

    async def _restart(self, fault: Fault) -> None:
        at = time.time()
        self._stage.redis.kill()
        await asyncio.sleep(fault.seconds)
        await self._stage.redis.start(LOADS)
        self._note(fault, at)
        await asyncio.sleep(BREATH)

    async def _stall(self, fault: Fault) -> None:
        """Stop it again and again, for a moment each."""
        end = time.time() + fault.seconds
        while time.time() < end:
            at = time.time()
            with self._stage.redis.hung():
                await asyncio.sleep(self._chance.uniform(*STALL))
            self._note(fault, at)
            await asyncio.sleep(self._chance.uniform(*BETWEEN))

    async def _slow_disk(self, fault: Fault) -> None:
        if self._stage.shim is None:
            return
        at = time.time()
        self._stage.shim.fsync(float(fault.target) * self._stage.slower)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._stage.shim.fsync(0.0)
        self._note(fault, at)

    def _set_clock(self, offset: str) -> None:
        if self._stage.shim is None:
            return
        last = next((float(each.target) for each in reversed(self.struck) if each.kind == "clock"), 0.0)
        at = time.time()
        self._stage.shim.clock(float(offset))
        self.struck.append(Struck("clock", offset, at, at + abs(float(offset) - last)))

    # -- the wire

    async def _on_wire(self, fault: Fault) -> None:
        at = time.time()
        self._disturb(fault, self._proxy.some(self._chance, fault.share))
        if fault.target == "half_open":
            self._note(fault, at, at + fault.seconds)  # nobody mends it
            return
        await asyncio.sleep(fault.seconds)
        self._note(fault, at)

    def _disturb(self, fault: Fault, links: Iterable[Link]) -> None:
        match fault.target:
            case "cut":
                self._proxy.cut(links)
            case "lose":
                self._proxy.lose(links)
            case "reset":
                self._proxy.reset(links)
            case "tear":
                self._proxy.tear(links)
            case "corrupt":
                self._proxy.corrupt(links)
            case "half_open":
                self._proxy.half_open(links)
            case _:
                self._proxy.hold(links, fault.seconds)
