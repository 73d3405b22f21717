"""What a client has open of a Redis: a session for each event loop of each process.

Connections, locks and tasks work in the loop that made them and nowhere else, and a socket that two processes or two
threads read gives one of them the other's replies. So a loop never uses a session that was made in another.
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
    """The connection, the subscription and the stores of one event loop, which closes them when it ends."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.connection = Connection.open(url, settings.prefix)
        self.log = JobLog(self.connection, settings)
        self.shelf = CatalogStore(self.connection, settings.max_age + settings.retention)
        self.stats = Stats(self.connection)
        self.dead = DeadLetters(self.connection, self.log)
        self.notifications = Notifications(url)
        self._held = self._hold()
        with contextlib.suppress(StopIteration):
            self._held.__anext__().send(None)  # to its yield, without waiting

    async def aclose(self) -> None:
        await self._held.aclose()

    async def _hold(self) -> AsyncGenerator[None]:
        """Keep everything until the loop ends: `asyncio.run` and its like close the generators that are open then."""
        try:
            yield
        finally:
            await self.notifications.aclose()
            await self.connection.aclose()


class Sessions:
    """The sessions of a client. Safe in threads: each loop runs in one, and only it touches the loop's session."""

    def __init__(self, url: str, settings: Settings) -> None:
        open_client(url)  # raises BadInput for a URL that is none
        self._url, self._settings = url, settings
        self._open: dict[tuple[int, asyncio.AbstractEventLoop], Session] = {}

    @property
    def current(self) -> Session:
        """That of the running loop in this process, made when it is first asked for."""
        place = os.getpid(), asyncio.get_running_loop()
        return self._open.get(place) or self._made(place)

    async def aclose(self) -> None:
        """Close that of the running loop; each other one is closed by its own loop."""
        if session := self._open.pop((os.getpid(), asyncio.get_running_loop()), None):
            await session.aclose()

    def _made(self, place: tuple[int, asyncio.AbstractEventLoop]) -> Session:
        # what was inherited by a fork stays untouched: to close it would take the parent's sockets from its loop
        for old in [old for old in list(self._open) if old[0] == place[0] and old[1].is_closed()]:
            self._open.pop(old, None)
        session = self._open[place] = Session(self._url, self._settings)
        return session
