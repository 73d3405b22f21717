"""Waiting for a job and reading what it writes, as far as its log in Redis has it.

Each method waits for a notification of the job's channel and then reads the log, so a lost notification delays it and
never costs an event.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from swarm.broker.deltas import Delta, DeltaReader
from swarm.broker.job_log import JobLog
from swarm.broker.keys import Keys
from swarm.broker.loop_session import Sessions
from swarm.broker.notifications import Listener, Notifications
from swarm.engine.progress import Progress
from swarm.errors import BadInput, BrokerUnavailable
from swarm.types.answer import Answer
from swarm.types.base import received
from swarm.types.events import AnyEvent, Ended, Reset

EVENT_ID = r"[0-9]{1,18}-[0-9]{1,18}"

T = TypeVar("T")


class JobFollower:
    """Follows jobs by their ids, in one event loop.

    A Redis that goes away is waited for, except before the first successful read: then BrokerUnavailable is raised.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @property
    def _log(self) -> JobLog:
        return self._sessions.current.log  # another one after `SwarmClient.aclose`, whose connection stays closed

    @property
    def _notifications(self) -> Notifications:
        return self._sessions.current.notifications

    @property
    def _keys(self) -> Keys:
        return self._sessions.current.connection.keys

    async def until(self, job: str, done: Callable[[Progress], bool]) -> Progress:
        """Wait until `done` holds and return that progress; there is no time limit. Raises JobNotFound."""
        async with self._notifications.place(self._keys.events(job)) as listener:
            while not done(progress := await self._log.progress(job)):
                await listener.news()
        return progress

    async def wait(self, job: str) -> Answer:
        """Wait for the answer of a job; there is no time limit. Raises JobNotFound."""
        async with self._notifications.place(self._keys.over(job)) as listener:
            connected = False
            while True:
                if message := await listener.news():
                    return received(Answer, message)
                try:
                    if (answer := await self._log.answer(job)) is not None:
                        return answer
                    connected = True
                except BrokerUnavailable:
                    if not connected:
                        raise

    async def follow(self, job: str, after: str = "0-0") -> AsyncIterator[AnyEvent]:
        """Yield the events of a job, see `Job.events`."""
        _check_id(after, "event id", "give the id of an event, such as 7-1732150000123")
        async with self._notifications.place(self._keys.events(job)) as listener:
            seen, connected = after, False
            while True:
                over, page = await self._read(listener, job, partial(self._log.events, job, seen), retry=connected)
                connected = True
                if page is None:
                    seen = "0-0"
                    yield Reset()
                    continue
                for event in page:
                    seen = event.id
                    yield event
                    if isinstance(event, Ended):
                        return
                if not page:
                    if over:
                        return
                    await listener.news()

    async def watch(self, job: str, after: str = "0-0") -> AsyncIterator[Delta]:
        """Yield the pieces of texts that a job writes, see `Job.deltas`."""
        _check_id(after, "id of a delta", "give the id of one that came")
        keys, views = self._keys, DeltaReader(resumed=after != "0-0")
        async with self._notifications.place(keys.writing(job), keys.over(job)) as listener:
            seen, connected = after, False
            while True:
                read = partial(self._log.deltas.after, job, seen)
                over, page = await self._read(listener, job, read, retry=connected)
                connected = True
                for seen, fields in page:
                    yield views.delta(seen, fields)
                if not page:
                    if over:
                        return
                    await listener.news()

    async def _read(
        self, listener: Listener, job: str, read: Callable[[], Coroutine[Any, Any, T]], *, retry: bool
    ) -> tuple[bool, T]:
        """Return whether the job was over, and what `read` returns. With `retry` an unreachable Redis is waited for."""
        while True:
            try:
                # over is asked first, so that a job which was over then has nothing more after an empty page
                over, page = await asyncio.gather(self._log.ended(job), read())
                return over, page
            except BrokerUnavailable:
                if not retry:
                    raise
                await listener.news()


def _check_id(after: object, kind: str, remedy: str) -> None:
    if not isinstance(after, str) or re.fullmatch(EVENT_ID, after) is None:
        raise BadInput("after", f"{str(after)[:80]!r} is no {kind}", remedy)
