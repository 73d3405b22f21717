"""`SwarmWorker`: arq's Worker with push wake-up, leases and hand-back.

arq 0.28 polls, holds no leases and dies with Redis (its limits are known and it is no longer developed), so what is
kept of it is the form: functions and their registry, the context, the job record, start-up and shut-down. What is
replaced: `main` (claims by script, woken by a list), running a delivery, and stopping. The contract test in
tests/contracts/test_arq.py says what is relied on.
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
from swarm.broker.keys import ADVANCE, Keys, subtask_of
from swarm.broker.queue import Claim, Queue
from swarm.broker.served_queues import Served
from swarm.broker.subscription import News, Subscription
from swarm.broker.workers import about
from swarm.errors import BrokerError, BrokerFull, BrokerReadOnly, BrokerUnavailable, BrokerUntrusted, NoRoom
from swarm.settings import Settings
from workers.heartbeat import LATELY, Beat
from workers.lane import Lane
from workers.supervisor import supervised
from workers.tasks import DeliveryLog, DeliveryResult
from workers.wake import IDLE, Waker

HEALTHY = 10.0
"""Seconds without a claim, or a turn of the event loop, after which a worker is not healthy."""
QUIET = 5.0
"""Seconds without news after which a worker looks for a new catalog by itself."""
LONGEST_AWAY = 1.0
"""Seconds between tries while Redis is away."""
DECIDED = 0.05
"""Seconds in which what a result leads to is claimed where decisions are made, when the event loop was held."""
BUG_DELAY = 1.0
"""Seconds until a delivery whose function failed comes back."""
MOST_TOLD = 2_000
"""Characters of an error that a dead letter keeps."""
ROUTER_TIMEOUT = 300.0
"""Seconds for one plan, advance or answer."""

PASSING = (BrokerUnavailable, BrokerReadOnly, BrokerFull, BrokerUntrusted)
"""What is over when Redis is back."""

_log = events.get_logger("worker")
T = TypeVar("T")


def worker_name() -> str:
    """Unique per process, and readable: host, process id and a little chance."""
    host = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{os.urandom(3).hex()}"


class SwarmWorker(Worker):
    """Runs deliveries of its lanes until it is told to stop. It survives a Redis that goes away, however long."""

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
        self.on_published: Callable[[], Awaitable[None]] | None = None
        """Called at the start and whenever a catalog was published, and now and then in case that was missed."""
        self._beat = Beat(url, settings.prefix, self.queue, settings.lease, self._about, self._lost)
        self._claims: dict[str, Claim] = {}
        self._current: dict[str, Claim] = {}
        """The last claim of each delivery."""
        self._stopped: set[str] = set()
        self._unwritten: set[asyncio.Task[None]] = set()
        """Decisions, and deliveries whose attempt has ended, that are not yet settled."""
        self._stopping = asyncio.Event()
        self._draining = settings.drain
        self._ending = False
        self._waits: set[asyncio.Task[None]] = set()
        self._away_since: float | None = None
        self._started_at = time.time()
        self.last_claim = 0.0

    @property
    def ending(self) -> bool:
        """Whether what runs is being handed back, since the process ends."""
        return self._ending

    # -- life cycle

    async def main(self) -> None:
        """Serve until `stop`, then drain, hand back and return. Overrides arq's poll loop.

        A lane or a helper that an error ends is started again: see `supervised`.
        """
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._beat.start(self.loop)
        await self._published()
        _log.info(events.STARTED, worker=self.name, lanes={lane.name: lane.slots for lane in self.lanes})
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._pulse()), group.create_task(supervised("listen", self._listen))]
            await asyncio.wait([group.create_task(self._served(lane)) for lane in self.lanes])
            await self._drain()
            for task in helpers:
                task.cancel()

    def stop(self, drain: float | None = None) -> None:
        """Claim nothing more; let what runs finish within `drain` seconds (default: the setting). Safe to repeat."""
        if drain is not None:
            self._draining = drain
            if self._stopping.is_set():
                self._cancel_running()
        self._stopping.set()
        for task in self._waits:
            task.cancel()

    async def close(self) -> None:
        """Close what was opened. Overrides arq's, which cancels tasks and may raise theirs."""
        self._beat.close()
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.connection.aclose()
        self._pool = None
        _log.info(events.STOPPED, worker=self.name, done=self.jobs_complete, failed=self.jobs_failed)

    async def _drain(self) -> None:
        if self.tasks and self._draining > 0:
            await asyncio.wait(self.tasks.values(), timeout=self._draining)
        self._cancel_running()
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=GRACE + 2 * self._settings.lease)
        # Redis does not answer: what could be neither settled nor handed back comes back when its lease has ended
        for task in self.tasks.values():
            task.cancel()

    def _cancel_running(self) -> None:
        self._ending = True
        for task in self.job_tasks.values():
            task.cancel()

    # -- claiming

    async def _served(self, lane: Lane) -> None:
        await supervised(
            lane.name,
            lambda: self._serve(lane),
            pause=lambda seconds: self._or_stop(asyncio.sleep(seconds)),
            stopped=self._stopping.is_set,
        )

    async def _serve(self, lane: Lane) -> None:
        async with Waker(self._url, self._turn, self.connection.suspect) as waker:
            while not self._stopping.is_set():
                if lane.free <= 0 or not lane.served.queues:
                    await self._or_stop(lane.room() if lane.free <= 0 else asyncio.sleep(IDLE))
                    continue
                try:
                    if lane.unsure:
                        await self.queue.disown(lane.served.queues, self._claims.values())
                    lane.unsure = True  # until all that the next claim takes has been started
                    lane.claiming, served = lane.free, lane.served  # another catalog may have come meanwhile
                    claims, due = await self.queue.claim(served, lane.claiming, first=lane.turn(), also=lane.also())
                except BrokerError as error:
                    lane.claimed()
                    await self._away(error)
                    continue
                self._back()
                for claim in claims:
                    self._start(lane, claim)
                lane.claimed()
                lane.unsure = False
                if lane.free > 0:
                    await self._or_stop(self._wait(lane, waker, served, IDLE if due is None else min(IDLE, due)))

    async def _wait(self, lane: Lane, waker: Waker, served: Served, seconds: float) -> None:
        lane.woken = ""
        found = await waker.wait(served.lists(self._keys), seconds)
        lane.woken = found.removeprefix(self._keys.queue("", "")[:-1]).removesuffix(":wake")

    async def _turn(self) -> None:
        """Let Redis look at its clock: on its own it does so ten times a second."""
        with contextlib.suppress(BrokerError):
            await self.connection.call("PING")

    async def until_stopped(self, waiting: Awaitable[Any]) -> None:
        """Wait for something before serving, but no longer than until `stop`."""
        await self._or_stop(waiting)

    async def _or_stop(self, waiting: Awaitable[Any]) -> None:
        """Wait, unless the worker stops meanwhile. Only waits are ever cancelled, never a claim under way."""
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

    async def _away(self, error: BrokerError) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            _log.warning(events.REDIS_AWAY, worker=self.name, error=str(error))
        gone = time.monotonic() - self._away_since
        await self._or_stop(asyncio.sleep(min(LONGEST_AWAY, 0.05 + gone / 10)))

    def _back(self) -> None:
        self.last_claim = time.monotonic()
        if self._away_since is not None:
            _log.info(events.REDIS_BACK, worker=self.name, seconds=round(self.last_claim - self._away_since, 3))
            self._away_since = None

    # -- running

    def _start(self, lane: Lane, claim: Claim) -> None:
        if (older := self._current.get(claim.id)) is not None:
            self._stop_claim(older)  # its lease was lost, or we would not have been given it again
        lane.take()
        self._claims[claim.key] = self._current[claim.id] = claim
        self._beat.hold(claim)
        task = self.loop.create_task(self._run(claim))
        self.tasks[claim.key] = task
        task.add_done_callback(lambda done: self._ended(lane, claim, done))
        if claim.queue == ADVANCE:
            self._settles(task)

    def _ended(self, lane: Lane, claim: Claim, task: asyncio.Task[None]) -> None:
        lane.give()
        self._beat.drop(claim)
        del self._claims[claim.key], self.tasks[claim.key]
        if self._current.get(claim.id) == claim:
            del self._current[claim.id]
        self._stopped.discard(claim.key)
        if not task.cancelled() and (error := task.exception()):
            _log.error(events.DELIVERY_FAILED, worker=self.name, delivery=claim.id, exc_info=error)

    async def _run(self, claim: Claim) -> None:
        """See one delivery through: run its function, then settle it, hand it back, or let it go."""
        begun = time.monotonic()
        told = DeliveryLog()
        events.bind(_named(claim))
        try:
            settlement = await self._call(claim, told)
            if settlement is not None:
                await self._settle(claim, settlement)
            self.jobs_complete += 1
        except asyncio.CancelledError:
            if claim.key in self._stopped:
                told.outcome = "stopped"
            else:
                told.outcome = "handed_back"
                await self._hand_back(claim)
        except NoRoom as full:
            told.outcome = "parked"
            await self._park(claim, full)
        except Exception as error:
            await self._broke_off(claim, told, error)
        tell = _log.debug if claim.queue == ADVANCE else _log.info
        gate = {"gate": claim.wait.gate, "gate_ms": claim.wait.gated} if claim.wait.gate else {}
        tell(
            events.DELIVERED,
            worker=self.name,
            delivery=claim.id,
            claim=claim.number,
            queue=claim.queue,
            queue_wait_ms=claim.wait.ms,
            **gate,
            ms=round((time.monotonic() - begun) * 1000, 1),
            **told.fields(),
        )

    async def _broke_off(self, claim: Claim, told: DeliveryLog, error: Exception) -> None:
        if self._ending and isinstance(error, PASSING):
            told.outcome = "left"  # nobody can be told; its lease hands it back
            _log.warning(events.DELIVERY_LEFT, worker=self.name, delivery=claim.id, error=str(error))
            return
        # a bug in a function of ours costs one delivery, not the worker
        told.outcome = "failed"
        self.jobs_failed += 1
        _log.error(events.DELIVERY_FAILED, worker=self.name, delivery=claim.id, exc_info=error)
        waited_for_redis = isinstance(error, TimeoutError) and self._away_since is not None
        await self._hand_back(claim, delay=BUG_DELAY, lost=not waited_for_redis, why=_told(error))

    async def _call(self, claim: Claim, told: DeliveryLog) -> DeliveryResult | None:
        if self._ending:
            raise asyncio.CancelledError
        name, args, kwargs, _, _ = deserialize_job_raw(claim.record, deserializer=self.job_deserializer)
        function = self.functions[name]
        context = self.ctx | {"job_id": claim.id, "job_try": claim.number, "claim": claim, "worker": self}
        context["told"] = told
        # it may be cancelled from here on, until there is something to settle
        self.job_tasks[claim.key] = self.tasks[claim.key]
        try:
            async with _within(function.timeout_s or self.job_timeout_s):
                result: DeliveryResult | None = await function.coroutine(context, *args, **kwargs)
                return result
        finally:
            del self.job_tasks[claim.key]

    async def _settle(self, claim: Claim, settlement: DeliveryResult) -> None:
        await self.retry_while_down(
            lambda: self.queue.finish(
                claim,
                settlement.kind,
                settlement.data,
                body_key=settlement.body_key,
                body=settlement.body,
                solves=settlement.solves,
            )
        )

    async def _hand_back(self, claim: Claim, *, delay: float = 0.0, lost: bool = False, why: str = "") -> None:
        with contextlib.suppress(BrokerError):
            await self.retry_while_down(lambda: self.queue.hand_back([claim], delay=delay, lost=lost, why=why))

    async def _park(self, claim: Claim, full: NoRoom) -> None:
        with contextlib.suppress(BrokerError):
            await self.retry_while_down(lambda: self.queue.park(claim, full.scope, full.need))

    async def retry_while_down(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent call until Redis answers. A worker that must end meanwhile lets its lease run out."""
        pause = 0.05
        while True:
            try:
                return await call()
            except PASSING:
                if self._ending:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_AWAY)

    # -- being told

    async def _pulse(self) -> None:
        while True:
            self._beat.alive()
            await asyncio.sleep(IDLE)

    def limit(self, claim: Claim, seconds: float) -> None:
        """An attempt has so long: its expert may hold the event loop until then without losing the lease."""
        self._beat.limit(claim, seconds)

    async def begin(self, claim: Claim) -> None:
        """The expert is called now. Does not return for a claim that was given up while the event loop was held.

        When it turns again, results that wait to be written go first, and the decisions that they lead to if those are
        made here: the next expert may hold it as long.
        """
        if self._beat.held_lately:
            await self._written()
            if any(ADVANCE in lane.served.queues for lane in self.lanes):
                await asyncio.sleep(DECIDED)
                await self._written()
        if not self._beat.begin(claim) and (work := self.job_tasks.get(claim.key)) is not None:
            work.cancel()
            await asyncio.Event().wait()

    def solved(self, claim: Claim) -> None:
        """The attempt has ended; what it came to is to be written."""
        if (work := self.tasks.get(claim.key)) is not None:
            self._settles(work)

    def _settles(self, work: asyncio.Task[None]) -> None:
        self._unwritten.add(work)
        work.add_done_callback(self._unwritten.discard)

    async def _written(self) -> None:
        if self._unwritten:
            await asyncio.wait(self._unwritten, timeout=LATELY)

    def _lost(self, claims: list[Claim]) -> None:
        """From the beat's thread: these are no longer ours, or nobody wants them any more."""
        with contextlib.suppress(RuntimeError):  # the loop is closing
            for claim in claims:
                self.loop.call_soon_threadsafe(self._stop_claim, claim)

    def _stop_claim(self, claim: Claim) -> None:
        if (work := self.job_tasks.get(claim.key)) is not None and claim.key not in self._stopped:
            self._stopped.add(claim.key)
            _log.info(events.DELIVERY_STOPPED, worker=self.name, delivery=claim.id)
            work.cancel()

    async def _listen(self) -> None:
        """Stops and new catalogs, the fast way. What is missed here the beat and a slow look bring as well."""
        while True:
            with contextlib.suppress(BrokerError):
                async with Subscription(self._url) as channels:
                    await channels.subscribe(self._keys.stop(self.name), self._keys.published)
                    await self._published()
                    while True:
                        await self._hear(await channels.next(QUIET))
            await asyncio.sleep(IDLE)

    async def _hear(self, news: News | None) -> None:
        if news is None or news.channel == self._keys.published:
            await self._published()
        elif (claim := self._claims.get(news.message.decode(errors="replace"))) is not None:
            self._stop_claim(claim)

    async def _published(self) -> None:
        if self.on_published is not None:
            with contextlib.suppress(BrokerError):
                await self.on_published()
                if not any(lane.served.queues for lane in self.lanes):
                    self._back()  # nothing to claim is no fault

    # -- health

    def report(self) -> dict[str, Any]:
        """What this process says of itself to a probe. `healthy` means it has claimed, and its loop turns."""
        now = time.monotonic()
        idle = now - self.last_claim if self.last_claim else None
        full = all(lane.free <= 0 for lane in self.lanes)
        return {
            "worker": self.name,
            "healthy": idle is not None and (idle < HEALTHY or full) and self._beat.stuck < HEALTHY,
            "redis": "away" if self._away_since is not None else "ok",
            "since_claim": None if idle is None else round(idle, 3),
            "running": len(self.tasks),
            "lanes": {lane.name: {"slots": lane.slots, "busy": lane.busy} for lane in self.lanes},
            "done": self.jobs_complete,
            "failed": self.jobs_failed,
            "uptime": round(time.time() - self._started_at, 1),
        }

    def _about(self) -> str:
        lanes = {lane.name: (lane.busy, lane.slots) for lane in self.lanes}
        queues = [queue for lane in self.lanes for queue in lane.queues]
        return about(self.name, os.getpid(), self._started_at, lanes, queues, swarm.__version__)


def _named(claim: Claim) -> dict[str, Any]:
    """What all lines of a delivery say of it."""
    if (of := subtask_of(claim.id, claim.queue)) is not None:
        subtask, attempt, expert = of
        return {"job": claim.job, "subtask": subtask, "attempt": attempt, "expert": expert}
    return {"job": claim.job} | ({} if claim.queue == ADVANCE else {"for": claim.queue})


def _told(error: Exception) -> str:
    """An error as a dead letter keeps it: its type and message, in valid Unicode."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return words[:MOST_TOLD].encode("utf-8", "replace").decode()


def _within(seconds: float) -> contextlib.AbstractAsyncContextManager[object]:
    return contextlib.nullcontext() if seconds == math.inf else asyncio.timeout(seconds)


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()
