"""The heartbeat: a thread renews the leases of what this process runs, so that a busy event loop does not lose them.

It renews an explicit list, each claim only while it still holds, and reports claims that are lost or whose job has
ended. A process whose event loop no longer turns must not keep work from others. While an expert holds the loop,
decisions and claims that have not begun go back after HELD seconds. After STUCK seconds every claim is given up,
except subtasks within their time limit: their experts may be what holds the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis

from experts.attempt import OF_EXPERT
from swarm import logging as events
from swarm.broker.address import open_blocking, shown
from swarm.broker.connection import digest, source
from swarm.broker.connection_errors import translated
from swarm.broker.keys import ANSWER, PLAN
from swarm.broker.queue import Claim, Queue
from swarm.errors import BrokerError

_log = events.get_logger("worker")

HELD = 2.0
"""Seconds without a turn of the event loop after which its holder is recorded and claims not yet begun go back."""
STUCK = 30.0
"""Seconds without a turn of the event loop after which that is logged and claims past their time are given up."""
RECENT = 2.0
"""Seconds after the event loop was held during which results are written before new work begins."""
GRACE = 5.0
"""Seconds after the end of an attempt for which its lease is kept while the event loop is stuck."""
BATCH = 250
"""Leases renewed by one script call, so that no call blocks Redis for long."""
RETRY_PAUSE = 0.05
"""Seconds until the next renewal while Redis is away."""


@dataclass(slots=True)
class _Held:
    """A claim under lease; `end` (`time.monotonic`) is how long its expert may hold the event loop."""

    claim: Claim
    end: float = -math.inf
    begun: bool = False
    given_up: bool = False

    @property
    def returnable(self) -> bool:
        """Whether handing it back loses no work. A decision that is begun twice is written once."""
        return not self.begun and self.claim.queue not in (PLAN, ANSWER)


@dataclass(slots=True)
class _Stall:
    """A period in which the event loop does not turn: the task that holds it, and whether leases were given up."""

    holder: str
    place: str
    lost: bool = False
    logged: bool = False

    def fields(self, seconds: float) -> dict[str, Any]:
        fields = {"seconds": round(seconds, 1), "leases_lost": self.lost, "holder": self.holder, "place": self.place}
        return fields | ({"reported": "before"} if self.logged else {})


def current_stall(loop: asyncio.AbstractEventLoop, thread: int) -> _Stall:
    """Name the task that a loop runs now and the line of its code. Called from another thread."""
    task = asyncio.current_task(loop)
    frame = sys._current_frames().get(thread)
    place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" if frame is not None else ""
    return _Stall("" if task is None else task.get_name(), place)


class Heartbeat:
    """Renews the leases of one worker. `on_lost` is called in its thread, with claims that it no longer holds."""

    def __init__(
        self,
        url: str,
        prefix: str,
        queue: Queue,
        lease: float,
        about: Callable[[], str],
        on_lost: Callable[[list[Claim]], None],
    ) -> None:
        timeout = max(lease / 2, 0.5)
        self._client = open_blocking(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._where = shown(url)
        self._prefix, self._queue, self._pause = prefix, queue, lease / 3
        self._about, self._on_lost = about, on_lost
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._last_turn = time.monotonic()
        self._loop_thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stall: _Stall | None = None
        self._held_until = -math.inf
        self._away = False
        """Whether the last renewal failed."""
        self._thread = threading.Thread(target=self._run, name="swarm-heartbeat", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread and watch this event loop. Called in the loop's thread."""
        self._loop, self._loop_thread = loop, threading.get_ident()
        self._thread.start()

    def close(self) -> None:
        """End the thread; wait for a renewal under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()

    def hold(self, claim: Claim) -> None:
        """Renew the lease of this claim until `drop`."""
        with self._lock:
            self._held[claim.id] = _Held(claim)

    def limit(self, claim: Claim, seconds: float) -> None:
        """Keep this lease for `seconds` even if the event loop does not turn: the attempt may take so long."""
        with self._lock:
            if (held := self._held_as(claim)) is not None:
                held.end = time.monotonic() + seconds + GRACE

    def begin(self, claim: Claim) -> bool:
        """Record that the expert is called now. False: the claim was given up while the loop was held."""
        with self._lock:
            if (held := self._held_as(claim)) is None or held.given_up:
                return False
            held.begun = True
            return True

    def drop(self, claim: Claim) -> None:
        """Renew this claim no more. Does nothing for one that is not held."""
        with self._lock:
            if self._held_as(claim) is not None:
                del self._held[claim.id]

    def _held_as(self, claim: Claim) -> _Held | None:
        """The entry of this very claim, not of a later claim of the same delivery."""
        held = self._held.get(claim.id)
        return held if held is not None and held.claim == claim else None

    def loop_turned(self) -> None:
        """Record a turn of the event loop; log the stall that it ends, if any."""
        seconds, self._last_turn = self.stuck, time.monotonic()
        if seconds > HELD:
            self._held_until = self._last_turn
        stall, self._stall = self._stall, None
        if stall is not None:
            _log.warning(events.LOOP_HELD, **stall.fields(seconds))

    @property
    def stuck(self) -> float:
        """Seconds since the event loop last turned."""
        return time.monotonic() - self._last_turn

    @property
    def held_recently(self) -> bool:
        """Whether the event loop has only just begun to turn again."""
        return self.stuck > HELD or time.monotonic() - self._held_until < RECENT

    def _run(self) -> None:
        pause = self._pause
        while not self._stop.wait(pause):
            stall = self._watch_loop()
            try:
                with translated(self._where):
                    if stall is not None and stall.holder.startswith(OF_EXPERT):
                        self._hand_back()
                    if lost := self._renew():
                        self._on_lost(lost)
            except BrokerError as error:
                self._failed(error)
                pause = min(RETRY_PAUSE, self._pause)
            else:
                pause, self._away = self._pause, False

    def _watch_loop(self) -> _Stall | None:
        """Record what holds the loop; log it once when the loop is stuck, and again when leases are given up."""
        stuck = self.stuck
        if stuck < HELD or self._loop is None:
            return None
        stall = self._stall = self._stall or current_stall(self._loop, self._loop_thread)
        if stuck > STUCK:
            lost = self._give_up() or stall.lost
            if lost > stall.lost or not stall.logged:
                stall.lost, stall.logged = lost, False
                _log.error(events.LOOP_HELD, **stall.fields(stuck))
                stall.logged = True
        return stall

    def _give_up(self) -> bool:
        """Give up the claims past their time; return whether there are any."""
        now = time.monotonic()
        with self._lock:
            late = [held for held in self._held.values() if held.end <= now]
            for held in late:
                held.given_up = True
        return bool(late)

    def _hand_back(self) -> None:
        """Hand back what has not begun, so that other workers take it while an expert holds this one's loop."""
        with self._lock:
            back = [held for held in self._held.values() if held.returnable]
            for held in back:
                held.given_up = True
        for start in range(0, len(back), BATCH):
            claims = [held.claim for held in back[start : start + BATCH]]
            self._call("hand_back", self._queue.unused(claims))
            for claim in claims:
                self.drop(claim)

    def _failed(self, error: BrokerError) -> None:
        """Log the first failed renewal. No error ends the thread, or all that runs here would be taken for lost."""
        if not self._away:
            _log.warning(events.REDIS_AWAY, thread=self._thread.name, error=str(error))
        self._away = True
        with contextlib.suppress(Exception):
            self._client.connection_pool.disconnect()  # the next try looks for the master again

    def _renew(self) -> list[Claim]:
        """Renew all leases but those given up by a stuck loop; return the claims that are lost."""
        stuck = self.stuck > STUCK
        with self._lock:
            helds = [held for held in self._held.values() if not (stuck and held.given_up)]
        if stuck and not helds:
            return []
        claims = [held.claim for held in helds]
        lost = self._renewed(claims[:BATCH], "" if stuck else self._about())
        for start in range(BATCH, len(claims), BATCH):
            lost |= self._renewed(claims[start : start + BATCH], "")
        for held in helds:
            held.given_up = held.claim.id in lost
        return [claim for claim in claims if claim.id in lost]

    def _renewed(self, claims: list[Claim], about: str) -> set[str]:
        """Renew these claims; return the ids of those that are lost."""
        return set(self._queue.renewed(self._call("renew", self._queue.renewal(claims, about))))

    def _call(self, script: str, given: Iterable[str | int]) -> Any:
        args = [self._prefix, *map(str, given)]
        try:
            return self._client.evalsha(digest(script), 1, *args)
        except redis.exceptions.NoScriptError:
            return self._client.eval(source(script), 1, *args)
