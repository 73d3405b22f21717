"""The heartbeat: a thread renews the leases of what this process runs, so that a busy event loop does not lose them.

It renews an explicit list, each entry only while the claim still holds, and hands back to the loop what has been
lost or has become pointless. When the loop itself has been stuck for half a minute, the thread stops renewing:
a process that does nothing any more must not keep work from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from swarm import log as events
from swarm.broker.address import open_blocking, shown
from swarm.broker.connection import digest, source
from swarm.broker.faults import translated
from swarm.broker.queue import Claim, Queue
from swarm.errors import BrokerError

_log = events.get("worker")

HELD = 2.0
"""Seconds without a sign of the event loop after which whoever holds it is told."""
STUCK = 30.0
"""Seconds without a sign of the event loop after which it counts as stuck."""
AT_ONCE = 250
"""Leases that one call renews, so that others need not wait for thousands."""
HURRY = 0.05
"""Seconds until the next try while Redis is away."""


def held_by(loop: asyncio.AbstractEventLoop, thread: int) -> dict[str, str]:
    """The task that a loop runs now, which names the expert, and where its code is. Called in another thread."""
    task = asyncio.current_task(loop)
    frame = sys._current_frames().get(thread)
    place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" if frame is not None else ""
    return {"holder": "" if task is None else task.get_name(), "place": place}


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
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._alive = time.monotonic()
        self._loop_thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holder: dict[str, str] = {}
        """Who holds the event loop, while it is held."""
        self._away = False
        """Whether the last renewal failed."""
        self._thread = threading.Thread(target=self._run, name="swarm-beat", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Begin. Called in the thread of the event loop, which is watched if it is given."""
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
            self._held[claim.id] = claim

    def drop(self, claim: Claim) -> None:
        with self._lock:
            if self._held.get(claim.id) == claim:
                del self._held[claim.id]

    def alive(self) -> None:
        """The event loop says that it turns."""
        held, self._alive = self.stuck, time.monotonic()
        if self._holder:
            _log.warning(events.LOOP_HELD, seconds=round(held, 1), leases_lost=held > STUCK, **self._holder)
            self._holder = {}

    @property
    def stuck(self) -> float:
        """Seconds since the event loop was last heard of."""
        return time.monotonic() - self._alive

    def _run(self) -> None:
        pause = self._pause
        while not self._stop.wait(pause):
            self._watch_loop(self.stuck)
            if self.stuck > STUCK:
                continue
            try:
                with translated(self._where):
                    if gone := self._renew():
                        self._gone(gone)
            except BrokerError as error:
                self._failed(error)
                pause = min(HURRY, self._pause)
            else:
                pause, self._away = self._pause, False

    def _watch_loop(self, stuck: float) -> None:
        """Note who holds the loop, and tell it at once when the leases are given up over it."""
        if stuck < HELD or self._loop is None:
            return
        told = stuck > STUCK and self._holder.get("told")
        if not self._holder:
            self._holder = held_by(self._loop, self._loop_thread)
        if stuck > STUCK and not told:
            _log.error(events.LOOP_HELD, seconds=round(stuck, 1), leases_lost=True, **self._holder)
            self._holder["told"] = "before"

    def _failed(self, error: BrokerError) -> None:
        """Nothing ends the thread: without it all that runs here would be taken for lost."""
        if not self._away:
            _log.warning(events.REDIS_AWAY, thread=self._thread.name, error=str(error))
        self._away = True
        with contextlib.suppress(Exception):
            self._client.connection_pool.disconnect()  # the next try looks for the master again

    def _renew(self) -> list[Claim]:
        with self._lock:
            claims = list(self._held.values())
        gone = self._renewed(claims[:AT_ONCE], self._about())
        for start in range(AT_ONCE, len(claims), AT_ONCE):
            gone |= self._renewed(claims[start : start + AT_ONCE], "")
        return [claim for claim in claims if claim.id in gone]

    def _renewed(self, claims: list[Claim], about: str) -> set[str]:
        """Renew these; answers the ids that are gone."""
        args = [self._prefix, *(str(arg) for arg in self._queue.renewal(claims, about))]
        raw: Any
        try:
            raw = self._client.evalsha(digest("renew"), 1, *args)
        except redis.exceptions.NoScriptError:
            raw = self._client.eval(source("renew"), 1, *args)
        return set(self._queue.renewed(raw))
