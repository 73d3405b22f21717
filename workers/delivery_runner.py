"""Running claimed deliveries: call the function of each, then settle it, hand it back, park it or let it go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from swarm import logging as events
from swarm.broker.keys import ADVANCE, subtask_of
from swarm.broker.queue import Claim, Queue
from swarm.errors import BrokerError, NoRoom
from swarm.types.result import Failure, Usage
from workers.call_budget import NOTHING, DeliveryAccount
from workers.heartbeat import RECENT, Heartbeat
from workers.lane import Lane
from workers.redis_outage import TRANSIENT, RedisOutage, retry_while_down

DECISION_TIME = 0.05
"""Seconds for a decision to be claimed after the event loop was held, before the next expert may hold it again."""
BUG_DELAY = 1.0
"""Seconds until a delivery whose function failed is run again."""
ERROR_LENGTH = 2_000
"""Characters of an error that a dead letter keeps."""

_log = events.get_logger("worker")
T = TypeVar("T")


@dataclass(frozen=True)
class DeliveryResult:
    """Result of a delivery: an event for the job's log, and a body beside it. `solves` names the subtask solved."""

    kind: str
    data: str
    body_key: str = ""
    body: str = ""
    solves: str = ""


@dataclass(slots=True)
class DeliveryLog:
    """Fields of a delivery's log line that its function fills in."""

    outcome: str = "ok"
    usage: Usage = NOTHING
    account: DeliveryAccount | None = None

    def settled(self, usage: Usage, failure: Failure | None) -> None:
        self.usage = usage
        if failure is not None:
            self.outcome = failure.reason

    def fields(self) -> dict[str, Any]:
        """The fields as logged. A delivery without a result logs its usage too."""
        fields: dict[str, Any] = {"outcome": self.outcome}
        if self.account is not None and (self.account.called or self.usage.calls):
            fields |= events.used(self.account.onto(self.usage))
        return fields


CallFunction = Callable[[Claim, DeliveryLog], Awaitable[DeliveryResult | None]]
"""Calls the function that a claim names. None: there is nothing left to write."""


class DeliveryRunner:
    """Runs the claims of a worker, each in a task of its own, and keeps their leases until they end."""

    def __init__(
        self,
        worker: str,
        queue: Queue,
        heartbeat: Heartbeat,
        outage: RedisOutage,
        lanes: Sequence[Lane],
        call: CallFunction,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._worker, self.queue, self._heartbeat, self._outage = worker, queue, heartbeat, outage
        self._lanes, self._call, self.loop = lanes, call, loop
        self.tasks: dict[str, asyncio.Task[None]] = {}
        """The task of each claim, by its key."""
        self._cancellable: dict[str, asyncio.Task[None]] = {}
        """Those of `tasks` whose function runs."""
        self._claims: dict[str, Claim] = {}
        self._current: dict[str, Claim] = {}
        """The last claim of each delivery."""
        self._stopped: set[str] = set()
        self._unwritten: set[asyncio.Task[None]] = set()
        """Decisions, and deliveries whose attempt has ended, that are not yet settled."""
        self.ending = False
        """Whether the process ends and hands back what runs."""
        self.done = self.failed = 0

    @property
    def claims(self) -> Collection[Claim]:
        """The claims that run now."""
        return self._claims.values()

    def start(self, lane: Lane, claim: Claim) -> None:
        """Run a claim in a slot of `lane`. An older claim of the same delivery is stopped."""
        if (older := self._current.get(claim.id)) is not None:
            self.stop(older)  # its lease was lost, or Redis would not have given this one
        lane.take()
        self._claims[claim.key] = self._current[claim.id] = claim
        self._heartbeat.hold(claim)
        task = self.loop.create_task(self._run(claim))
        self.tasks[claim.key] = task
        task.add_done_callback(lambda done: self._ended(lane, claim, done))
        if claim.queue == ADVANCE:
            self._track_write(task)

    def stop(self, claim: Claim) -> None:
        """Cancel a claim that this process lost or whose job ended; nothing is written for it."""
        if (task := self._cancellable.get(claim.key)) is not None and claim.key not in self._stopped:
            self._stopped.add(claim.key)
            _log.info(events.DELIVERY_STOPPED, worker=self._worker, delivery=claim.id)
            task.cancel()

    def stop_key(self, key: str) -> None:
        """Stop the claim of this key, if it runs here."""
        if (claim := self._claims.get(key)) is not None:
            self.stop(claim)

    def hand_all_back(self) -> None:
        """Cancel what runs, so that each delivery hands itself back. Safe to repeat."""
        self.ending = True
        for task in self._cancellable.values():
            task.cancel()

    # -- one claim

    async def _run(self, claim: Claim) -> None:
        begun = time.monotonic()
        line = DeliveryLog()
        events.bind(_bound_fields(claim))
        try:
            result = await self._result(claim, line)
            if result is not None:
                await self._settle(claim, result)
            self.done += 1
        except asyncio.CancelledError:
            if claim.key in self._stopped:
                line.outcome = "stopped"
            else:
                line.outcome = "handed_back"
                await self._hand_back(claim)
        except NoRoom as full:
            line.outcome = "parked"
            await self._park(claim, full)
        except Exception as error:
            await self._after_error(claim, line, error)
        log = _log.debug if claim.queue == ADVANCE else _log.info
        wait = claim.wait
        limited = {"limited_by": wait.limited_by, "limited_ms": wait.limited_ms} if wait.limited_by else {}
        log(
            events.DELIVERED,
            worker=self._worker,
            delivery=claim.id,
            claim=claim.number,
            queue=claim.queue,
            queue_wait_ms=wait.ms,
            **limited,
            ms=round((time.monotonic() - begun) * 1000, 1),
            **line.fields(),
        )

    async def _result(self, claim: Claim, line: DeliveryLog) -> DeliveryResult | None:
        if self.ending:
            raise asyncio.CancelledError
        # from here on a stop may cancel it, until there is a result to settle
        self._cancellable[claim.key] = self.tasks[claim.key]
        try:
            return await self._call(claim, line)
        finally:
            del self._cancellable[claim.key]

    async def _after_error(self, claim: Claim, line: DeliveryLog, error: Exception) -> None:
        if self.ending and isinstance(error, TRANSIENT):
            line.outcome = "left"  # Redis does not answer; the end of the lease hands it back
            _log.warning(events.DELIVERY_LEFT, worker=self._worker, delivery=claim.id, error=str(error))
            return
        # a bug in one of our functions costs one delivery, not the worker
        line.outcome = "failed"
        self.failed += 1
        _log.error(events.DELIVERY_FAILED, worker=self._worker, delivery=claim.id, exc_info=error)
        waited_for_redis = isinstance(error, TimeoutError) and self._outage.lasts
        await self._hand_back(claim, delay=BUG_DELAY, lost=not waited_for_redis, why=_dead_letter_text(error))

    def _ended(self, lane: Lane, claim: Claim, task: asyncio.Task[None]) -> None:
        lane.give()
        self._heartbeat.drop(claim)
        del self._claims[claim.key], self.tasks[claim.key]
        if self._current.get(claim.id) == claim:
            del self._current[claim.id]
        self._stopped.discard(claim.key)
        if not task.cancelled() and (error := task.exception()):
            _log.error(events.DELIVERY_FAILED, worker=self._worker, delivery=claim.id, exc_info=error)

    # -- writing

    async def retry_while_down(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent call until Redis answers, or raise its error when the process ends meanwhile."""
        return await retry_while_down(call, lambda: self.ending)

    async def _settle(self, claim: Claim, result: DeliveryResult) -> None:
        await self.retry_while_down(
            lambda: self.queue.finish(
                claim,
                result.kind,
                result.data,
                body_key=result.body_key,
                body=result.body,
                solves=result.solves,
            )
        )

    async def _hand_back(self, claim: Claim, *, delay: float = 0.0, lost: bool = False, why: str = "") -> None:
        with contextlib.suppress(BrokerError):
            await self.retry_while_down(lambda: self.queue.hand_back([claim], delay=delay, lost=lost, why=why))

    async def _park(self, claim: Claim, full: NoRoom) -> None:
        with contextlib.suppress(BrokerError):
            await self.retry_while_down(lambda: self.queue.park(claim, full.scope, full.need))

    # -- the attempt of a subtask

    def limit(self, claim: Claim, seconds: float) -> None:
        """Keep the lease for `seconds` even if the expert holds the event loop."""
        self._heartbeat.limit(claim, seconds)

    async def begin(self, claim: Claim) -> None:
        """Record that the expert is called now. Does not return for a claim given up while the event loop was held.

        After the loop was held, results that wait to be written go first, and the decisions that follow from them if
        this process makes any: the next expert may hold the loop as long.
        """
        if self._heartbeat.held_recently:
            await self._wait_for_writes()
            if any(ADVANCE in lane.served.queues for lane in self._lanes):
                await asyncio.sleep(DECISION_TIME)
                await self._wait_for_writes()
        if not self._heartbeat.begin(claim) and (task := self._cancellable.get(claim.key)) is not None:
            task.cancel()
            await asyncio.Event().wait()

    def attempt_ended(self, claim: Claim) -> None:
        """Record that the attempt has ended and its outcome waits to be written."""
        if (task := self.tasks.get(claim.key)) is not None:
            self._track_write(task)

    def _track_write(self, task: asyncio.Task[None]) -> None:
        self._unwritten.add(task)
        task.add_done_callback(self._unwritten.discard)

    async def _wait_for_writes(self) -> None:
        if self._unwritten:
            await asyncio.wait(self._unwritten, timeout=RECENT)


def _bound_fields(claim: Claim) -> dict[str, Any]:
    """Fields that all log lines of a delivery bear."""
    if (of := subtask_of(claim.id, claim.queue)) is not None:
        subtask, attempt, expert = of
        return {"job": claim.job, "subtask": subtask, "attempt": attempt, "expert": expert}
    return {"job": claim.job} | ({} if claim.queue == ADVANCE else {"for": claim.queue})


def _dead_letter_text(error: Exception) -> str:
    """An error as a dead letter keeps it: its type and message, in valid Unicode."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text[:ERROR_LENGTH].encode("utf-8", "replace").decode()
