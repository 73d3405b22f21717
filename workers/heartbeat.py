"""The heartbeat: a thread renews the leases of what this process runs, so that a busy event loop does not lose them.

It renews an explicit list, each entry only while the claim still holds, and hands back to the loop what has been
lost or has become pointless. When the loop itself is stuck, a process that does nothing any more must not keep work
from others. While an expert holds it, decisions and what has not begun go back after a moment; after half a minute all
is given up but subtasks within their time, whose experts may be what holds the loop.
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
"""Seconds without a sign of the event loop after which whoever holds it is noted, and what has not begun goes back."""
STUCK = 30.0
"""Seconds without a sign of the event loop after which it is told, and what no expert may be busy with is given up."""
LATELY = 2.0
"""Seconds after a time without a sign of the event loop in which results go before new work."""
GRACE = 5.0
"""Seconds after the end of an attempt for which its lease is kept though the event loop is stuck."""
AT_ONCE = 250
"""Leases that one call renews, so that others need not wait for thousands."""
HURRY = 0.05
"""Seconds until the next try while Redis is away."""


@dataclass(slots=True)
class _Held:
    """A claim, and until when (`time.monotonic`) its expert may hold the event loop."""

    claim: Claim
    end: float = -math.inf
    begun: bool = False
    given_up: bool = False

    @property
    def returns(self) -> bool:
        """Whether nothing is lost when it goes back. A decision that is begun twice is written once."""
        return not self.begun and self.claim.queue not in (PLAN, ANSWER)


@dataclass(slots=True)
class _Stall:
    """A time in which the event loop does not turn: who holds it, and what came of it."""

    holder: str
    place: str
    lost: bool = False
    """Whether leases were given up over it."""
    told: bool = False

    def said(self, seconds: float) -> dict[str, Any]:
        said = {"seconds": round(seconds, 1), "leases_lost": self.lost, "holder": self.holder, "place": self.place}
        return said | ({"told": "before"} if self.told else {})


def stalled(loop: asyncio.AbstractEventLoop, thread: int) -> _Stall:
    """What a loop runs now: the task, which names the expert, and where its code is. Called in another thread."""
    task = asyncio.current_task(loop)
    frame = sys._current_frames().get(thread)
    place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" if frame is not None else ""
    return _Stall("" if task is None else task.get_name(), place)


class Beat:
    """Renewals of one worker. `gone` is called in the thread, with claims that are no longer ours."""

    def __init__(
        self,
        url: str,
        prefix: str,
        queue: Queue,
        lease: float,
        about: Callable[[], str],
        gone: Callable[[list[Claim]], None],
    ) -> None:
        patience = max(lease / 2, 0.5)
        self._client = open_blocking(url, socket_timeout=patience, socket_connect_timeout=patience)
        self._where = shown(url)
        self._prefix, self._queue, self._pause = prefix, queue, lease / 3
        self._about, self._gone = about, gone
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._alive = time.monotonic()
        self._loop_thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stall: _Stall | None = None
        self._held_until = -math.inf
        self._away = False
        """Whether the last renewal failed."""
        self._thread = threading.Thread(target=self._run, name="swarm-beat", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, and watch this event loop. Called in its thread."""
        self._loop, self._loop_thread = loop, threading.get_ident()
        self._thread.start()

    def close(self) -> None:
        """End the thread; waits for a renewal under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()

    def hold(self, claim: Claim) -> None:
        with self._lock:
            self._held[claim.id] = _Held(claim)

    def limit(self, claim: Claim, seconds: float) -> None:
        """An attempt has so long, and its expert may hold the event loop until then."""
        with self._lock:
            if (held := self._held_as(claim)) is not None:
                held.end = time.monotonic() + seconds + GRACE

    def begin(self, claim: Claim) -> bool:
        """The expert is called now. False: the claim was given up while the loop was held, and others may have it."""
        with self._lock:
            if (held := self._held_as(claim)) is None or held.given_up:
                return False
            held.begun = True
            return True

    def drop(self, claim: Claim) -> None:
        with self._lock:
            if self._held_as(claim) is not None:
                del self._held[claim.id]

    def _held_as(self, claim: Claim) -> _Held | None:
        """What is held of this claim, and not of a later one of the same delivery."""
        held = self._held.get(claim.id)
        return held if held is not None and held.claim == claim else None

    def alive(self) -> None:
        """The event loop says that it turns."""
        seconds, self._alive = self.stuck, time.monotonic()
        if seconds > HELD:
            self._held_until = self._alive
        stall, self._stall = self._stall, None
        if stall is not None:
            _log.warning(events.LOOP_HELD, **stall.said(seconds))

    @property
    def stuck(self) -> float:
        """Seconds since the event loop was last heard of."""
        return time.monotonic() - self._alive

    @property
    def held_lately(self) -> bool:
        """Whether the event loop has only just begun to turn again."""
        return self.stuck > HELD or time.monotonic() - self._held_until < LATELY

    def _run(self) -> None:
        pause = self._pause
        while not self._stop.wait(pause):
            stall = self._watch_loop()
            try:
                with translated(self._where):
                    if stall is not None and stall.holder.startswith(OF_EXPERT):
                        self._hand_back()
                    if gone := self._renew():
                        self._gone(gone)
            except BrokerError as error:
                self._failed(error)
                pause = min(HURRY, self._pause)
            else:
                pause, self._away = self._pause, False

    def _watch_loop(self) -> _Stall | None:
        """Note who holds the loop. It is told when it is stuck, and when leases are given up over it."""
        stuck = self.stuck
        if stuck < HELD or self._loop is None:
            return None
        stall = self._stall = self._stall or stalled(self._loop, self._loop_thread)
        if stuck > STUCK:
            lost = self._give_up() or stall.lost
            if lost > stall.lost or not stall.told:
                stall.lost, stall.told = lost, False
                _log.error(events.LOOP_HELD, **stall.said(stuck))
                stall.told = True
        return stall

    def _give_up(self) -> bool:
        """Give up what no expert may be busy with any more; says whether there is any."""
        now = time.monotonic()
        with self._lock:
            late = [held for held in self._held.values() if held.end <= now]
            for held in late:
                held.given_up = True
        return bool(late)

    def _hand_back(self) -> None:
        """Others take what has not begun, so that no subtask waits for another's expert, nor a job for its ending."""
        with self._lock:
            back = [held for held in self._held.values() if held.returns]
            for held in back:
                held.given_up = True
        for start in range(0, len(back), AT_ONCE):
            claims = [held.claim for held in back[start : start + AT_ONCE]]
            self._call("hand_back", self._queue.unused(claims))
            for claim in claims:
                self.drop(claim)

    def _failed(self, error: BrokerError) -> None:
        """Nothing ends the thread: without it all that runs here would be taken for lost."""
        if not self._away:
            _log.warning(events.REDIS_AWAY, thread=self._thread.name, error=str(error))
        self._away = True
        with contextlib.suppress(Exception):
            self._client.connection_pool.disconnect()  # the next try looks for the master again

    def _renew(self) -> list[Claim]:
        stuck = self.stuck > STUCK
        with self._lock:
            helds = [held for held in self._held.values() if not (stuck and held.given_up)]
        if stuck and not helds:
            return []
        claims = [held.claim for held in helds]
        gone = self._renewed(claims[:AT_ONCE], "" if stuck else self._about())
        for start in range(AT_ONCE, len(claims), AT_ONCE):
            gone |= self._renewed(claims[start : start + AT_ONCE], "")
        for held in helds:
            held.given_up = held.claim.id in gone
        return [claim for claim in claims if claim.id in gone]

    def _renewed(self, claims: list[Claim], about: str) -> set[str]:
        """Renew these; answers the ids that are gone."""
        return set(self._queue.renewed(self._call("renew", self._queue.renewal(claims, about))))

    def _call(self, script: str, given: Iterable[str | int]) -> Any:
        args = [self._prefix, *map(str, given)]
        try:
            return self._client.evalsha(digest(script), 1, *args)
        except redis.exceptions.NoScriptError:
            return self._client.eval(source(script), 1, *args)
