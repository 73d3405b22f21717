"""Sessions of a client: one per event loop and process.

Connections, locks and tasks work only in the loop that created them, and a socket read by two processes or threads
gives one of them the other's replies. So a loop never uses a session of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator

from swarm.broker.address import open_client
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.dead_letters import DeadLetters
from swarm.broker.expert_stats import Stats
from swarm.broker.job_log import JobLog
from swarm.broker.notifications import Notifications
from swarm.settings import Settings


class Session:
    """Connection, subscription and stores of one event loop. They close when the loop ends."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.connection = Connection.open(url, settings.prefix)
        self.log = JobLog(self.connection, settings)
        self.catalog_store = CatalogStore(self.connection, settings.max_age + settings.retention)
        self.stats = Stats(self.connection)
        self.dead = DeadLetters(self.connection, self.log)
        self.notifications = Notifications(url)
        self._held = self._hold()
        with contextlib.suppress(StopIteration):
            self._held.__anext__().send(None)  # to its yield, without waiting

    async def aclose(self) -> None:
        await self._held.aclose()

    async def _hold(self) -> AsyncGenerator[None]:
        """Close everything when the loop ends: `asyncio.run` and similar then close open async generators."""
        try:
            yield
        finally:
            await self.notifications.aclose()
            await self.connection.aclose()


class Sessions:
    """Sessions of a client. Safe in threads: a loop runs in one thread, and only that one uses the loop's session."""

    def __init__(self, url: str, settings: Settings) -> None:
        open_client(url)  # raises BadInput for an invalid URL
        self._url, self._settings = url, settings
        self._open: dict[tuple[int, asyncio.AbstractEventLoop], Session] = {}

    @property
    def current(self) -> Session:
        """Session of the running loop in this process, created on first use."""
        place = os.getpid(), asyncio.get_running_loop()
        return self._open.get(place) or self._made(place)

    async def aclose(self) -> None:
        """Close the session of the running loop; the others are closed by their own loops."""
        if session := self._open.pop((os.getpid(), asyncio.get_running_loop()), None):
            await session.aclose()

    def _made(self, place: tuple[int, asyncio.AbstractEventLoop]) -> Session:
        # sessions inherited by a fork stay untouched: closing them would close the parent's sockets
        for old in [old for old in list(self._open) if old[0] == place[0] and old[1].is_closed()]:
            self._open.pop(old, None)
        session = self._open[place] = Session(self._url, self._settings)
        return session
