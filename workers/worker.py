"""`SwarmWorker`: arq's Worker with push wake-up, leases and hand-back.

arq 0.28 polls, holds no leases and dies with Redis (its limits are known and it is no longer developed), so only its
form is kept: functions and their registry, the job record, start-up and shut-down. Replaced are `main` (it claims by
script, woken by a list), running a delivery (`workers.delivery_runner`) and stopping. The contract test in
tests/contracts/test_arq.py lists what is relied on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from arq.connections import ArqRedis
from arq.jobs import deserialize_job_raw
from arq.worker import Function, Worker
from pydantic_core import from_json

import swarm
from experts.attempt import GRACE
from swarm import logging as events
from swarm.broker.address import open_client, shown
from swarm.broker.connection import Connection
from swarm.broker.keys import Keys
from swarm.broker.queue import Claim, Queue
from swarm.broker.running_workers import about
from swarm.broker.served_queues import ServedQueues
from swarm.errors import BrokerError
from swarm.settings import Settings
from workers.control import ControlChannel
from workers.delivery_runner import DeliveryLog, DeliveryResult, DeliveryRunner
from workers.heartbeat import Heartbeat
from workers.lane import Lane
from workers.redis_outage import RedisOutage
from workers.supervisor import supervised
from workers.tasks import DeliveryContext, Services
from workers.wake import IDLE, Waker

HEALTHY = 10.0
"""Seconds without a claim, or without a turn of the event loop, after which a worker is unhealthy."""
ROUTER_TIMEOUT = 300.0
"""Seconds for one plan, advance or answer."""

_log = events.get_logger("worker")
T = TypeVar("T")


def worker_name() -> str:
    """A readable name, unique per process: host, process id and six random digits."""
    host = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{os.urandom(3).hex()}"


class SwarmWorker(Worker):
    """Claims deliveries for its lanes and runs them until `stop`. It survives a Redis outage of any length.

    `services` must be set before it runs a delivery: some of them need the worker itself.
    """

    def __init__(
        self,
        url: str,
        settings: Settings,
        functions: Sequence[Function],
        lanes: Sequence[Lane],
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(
            functions,
            queue_name=settings.prefix,
            redis_pool=cast(ArqRedis, open_client(url, ArqRedis)),
            handle_signals=False,
            max_jobs=sum(lane.slots for lane in lanes),
            job_timeout=ROUTER_TIMEOUT,
            job_serializer=_dump,
            job_deserializer=from_json,
            log_results=False,
        )
        self.name = name or worker_name()
        self.lanes, self._settings, self._url = list(lanes), settings, url
        self._keys = Keys(settings.prefix)
        self.connection = Connection(self.pool, self._keys, shown(url))
        self.queue = Queue(self.connection, self.name, lease=settings.lease, max_results=settings.max_results)
        self.services: Services | None = None
        self.on_published: Callable[[], Awaitable[None]] | None = None
        """Called at the start, whenever a catalog is published, and every few seconds in case a message was lost."""
        self._outage = RedisOutage(self.name)
        self._heartbeat = Heartbeat(url, settings.prefix, self.queue, settings.lease, self._about, self._on_lost)
        self.runner = DeliveryRunner(
            self.name, self.queue, self._heartbeat, self._outage, self.lanes, self._call, self.loop
        )
        self.control = ControlChannel(url, self._keys, self.name, self.runner.stop_key, self._published)
        self._stopping = asyncio.Event()
        self._drain_seconds = settings.drain
        self._waits: set[asyncio.Task[None]] = set()
        self._started_at = time.time()
        self.last_claim = 0.0

    # -- life cycle

    async def main(self) -> None:
        """Serve until `stop`, then drain, hand back and return. Overrides arq's poll loop.

        A loop that an error ends is started again: see `supervised`.
        """
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._heartbeat.start(self.loop)
        await self._published()
        _log.info(events.STARTED, worker=self.name, lanes={lane.name: lane.slots for lane in self.lanes})
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._pulse()), group.create_task(supervised("listen", self.control.listen))]
            await asyncio.wait([group.create_task(self._serve_supervised(lane)) for lane in self.lanes])
            await self._drain()
            for task in beside:
                task.cancel()

    def stop(self, drain: float | None = None) -> None:
        """Stop claiming; give what runs `drain` seconds to finish (default: the setting). Safe to repeat."""
        if drain is not None:
            self._drain_seconds = drain
            if self._stopping.is_set():
                self.runner.hand_all_back()
        self._stopping.set()
        for task in self._waits:
            task.cancel()

    async def close(self) -> None:
        """Close what was opened. Overrides arq's, which cancels tasks and may raise their errors."""
        self._heartbeat.close()
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.connection.aclose()
        self._pool = None
        _log.info(events.STOPPED, worker=self.name, done=self.runner.done, failed=self.runner.failed)

    async def _drain(self) -> None:
        tasks = self.runner.tasks
        if tasks and self._drain_seconds > 0:
            await asyncio.wait(tasks.values(), timeout=self._drain_seconds)
        self.runner.hand_all_back()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=GRACE + 2 * self._settings.lease)
        # Redis does not answer: what could be neither settled nor handed back comes back when its lease has ended
        for task in tasks.values():
            task.cancel()

    async def _pulse(self) -> None:
        while True:
            self._heartbeat.loop_turned()
            await asyncio.sleep(IDLE)

    # -- claiming

    async def _serve_supervised(self, lane: Lane) -> None:
        await supervised(
            lane.name,
            lambda: self._serve(lane),
            pause=lambda seconds: self.until_stopped(asyncio.sleep(seconds)),
            stopped=self._stopping.is_set,
        )

    async def _serve(self, lane: Lane) -> None:
        async with Waker(self._url, self._ping, self.connection.suspect) as waker:
            while not self._stopping.is_set():
                if lane.free <= 0 or not lane.served.queues:
                    await self.until_stopped(lane.room() if lane.free <= 0 else asyncio.sleep(IDLE))
                    continue
                try:
                    if lane.unsure:
                        await self.queue.disown(lane.served.queues, self.runner.claims)
                    lane.unsure = True  # until all that the next claim takes has been started
                    lane.claiming, served = lane.free, lane.served  # another catalog may come meanwhile
                    claims, due = await self.queue.claim(served, lane.claiming, first=lane.turn(), also=lane.also())
                except BrokerError as error:
                    lane.claimed()
                    await self.until_stopped(asyncio.sleep(self._outage.failed(error)))
                    continue
                self._redis_answered()
                for claim in claims:
                    self.runner.start(lane, claim)
                lane.claimed()
                lane.unsure = False
                if lane.free > 0:
                    seconds = IDLE if due is None else min(IDLE, due)
                    await self.until_stopped(self._wait(lane, waker, served, seconds))

    async def _wait(self, lane: Lane, waker: Waker, served: ServedQueues, seconds: float) -> None:
        lane.woken = ""
        found = await waker.wait(served.lists(self._keys), seconds)
        lane.woken = found.removeprefix(self._keys.queue("", "")[:-1]).removesuffix(":wake")

    async def _ping(self) -> None:
        """Make Redis look at its clock: on its own it does so ten times a second."""
        with contextlib.suppress(BrokerError):
            await self.connection.call("PING")

    async def until_stopped(self, waiting: Awaitable[Any]) -> None:
        """Wait, but no longer than until `stop`. Only waits are ever cancelled, never a claim under way."""
        task: asyncio.Task[None] = asyncio.ensure_future(waiting)
        self._waits.add(task)
        if self._stopping.is_set():
            task.cancel()
        try:
            await asyncio.wait([task])
        finally:
            self._waits.discard(task)
            task.cancel()
        if not task.cancelled() and (error := task.exception()):
            raise error

    def _redis_answered(self) -> None:
        self.last_claim = time.monotonic()
        self._outage.ended()

    async def _published(self) -> None:
        if self.on_published is not None:
            with contextlib.suppress(BrokerError):
                await self.on_published()
                if not any(lane.served.queues for lane in self.lanes):
                    self._redis_answered()  # a worker with nothing to claim is healthy too

    # -- running

    async def _call(self, claim: Claim, line: DeliveryLog) -> DeliveryResult | None:
        """Call the function that the claim's record names, within its timeout."""
        if self.services is None:
            raise RuntimeError("SwarmWorker.services is not set; set it before the worker runs")
        name, args, kwargs, _, _ = deserialize_job_raw(claim.record, deserializer=self.job_deserializer)
        function = self.functions[name]
        call = cast(Callable[..., Awaitable[DeliveryResult | None]], function.coroutine)
        context = DeliveryContext(claim, self.runner, self.services, line)
        async with _within(function.timeout_s or self.job_timeout_s):
            return await call(context, *args, **kwargs)

    async def retry_while_down(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent call until Redis answers, or raise its error when the process ends meanwhile."""
        return await self.runner.retry_while_down(call)

    def _on_lost(self, claims: list[Claim]) -> None:
        """Stop claims whose lease is lost or whose job has ended. Called in the heartbeat's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closing
            for claim in claims:
                self.loop.call_soon_threadsafe(self.runner.stop, claim)

    # -- health

    def report(self) -> dict[str, Any]:
        """State of this process for a health probe. `healthy` means that it claims and its event loop turns."""
        now = time.monotonic()
        idle = now - self.last_claim if self.last_claim else None
        full = all(lane.free <= 0 for lane in self.lanes)
        return {
            "worker": self.name,
            "healthy": idle is not None and (idle < HEALTHY or full) and self._heartbeat.stuck < HEALTHY,
            "redis": "away" if self._outage.lasts else "ok",
            "since_claim": None if idle is None else round(idle, 3),
            "running": len(self.runner.tasks),
            "lanes": {lane.name: {"slots": lane.slots, "busy": lane.busy} for lane in self.lanes},
            "done": self.runner.done,
            "failed": self.runner.failed,
            "uptime": round(time.time() - self._started_at, 1),
        }

    def _about(self) -> str:
        lanes = {lane.name: (lane.busy, lane.slots) for lane in self.lanes}
        queues = [queue for lane in self.lanes for queue in lane.queues]
        return about(self.name, os.getpid(), self._started_at, lanes, queues, swarm.__version__)


def _within(seconds: float) -> contextlib.AbstractAsyncContextManager[object]:
    return contextlib.nullcontext() if seconds == math.inf else asyncio.timeout(seconds)


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()
