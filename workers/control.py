"""Messages to a running worker: stop a claim, load a new catalog."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from swarm.broker.keys import Keys
from swarm.broker.subscription import News, Subscription
from swarm.errors import BrokerError
from workers.wake import IDLE

CATALOG_CHECK = 5.0
"""Seconds without a message after which a worker checks for a new catalog by itself."""


class ControlChannel:
    """Listens for the messages of one worker; `on_stop` gets the key of a claim.

    Messages only save time: the heartbeat brings a stop that was missed, the check brings a new catalog.
    """

    def __init__(
        self,
        url: str,
        keys: Keys,
        worker: str,
        on_stop: Callable[[str], None],
        on_published: Callable[[], Awaitable[None]],
    ) -> None:
        self._url, self._stops, self._published = url, keys.stop(worker), keys.published
        self._on_stop, self._on_published = on_stop, on_published

    async def listen(self) -> None:
        """Receive messages until cancelled, over a new connection whenever one breaks."""
        while True:
            with contextlib.suppress(BrokerError):
                async with Subscription(self._url) as channels:
                    await channels.subscribe(self._stops, self._published)
                    await self._on_published()  # a catalog may have come before the subscription
                    while True:
                        await self._receive(await channels.next(CATALOG_CHECK))
            await asyncio.sleep(IDLE)

    async def _receive(self, message: News | None) -> None:
        if message is None or message.channel == self._published:
            await self._on_published()
        else:
            self._on_stop(message.message.decode(errors="replace"))
