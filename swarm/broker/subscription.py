"""Subscription to channels of Redis over one connection, which detects when it is dead."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, NamedTuple, Self

from redis import exceptions

from swarm.broker.address import CONNECT_TIMEOUT, open_client, shown
from swarm.broker.connection_errors import hang_up, translated


class News(NamedTuple):
    """A message on a channel. An empty one confirms the subscription: later messages will be delivered."""

    channel: str
    message: bytes


class Subscription:
    """A connection for channels. It raises BrokerErrors only; after one, close it and open another."""

    def __init__(self, url: str) -> None:
        self._where = shown(url)
        self._client = open_client(url, socket_timeout=None)
        self._channels: Any = self._client.pubsub()
        self._asked = False
        """Whether a ping is unanswered."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection in any state. Raises nothing."""
        await hang_up(self._channels.connection)
        for opened in (self._channels, self._client):
            with contextlib.suppress(Exception):
                await opened.aclose()

    async def subscribe(self, *channels: str) -> None:
        with translated(self._where):
            async with asyncio.timeout(CONNECT_TIMEOUT):  # a Redis that hangs accepts connections and never replies
                await self._channels.subscribe(*channels)

    async def unsubscribe(self, channel: str) -> None:
        with translated(self._where):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._channels.unsubscribe(channel)

    async def next(self, seconds: float) -> News | None:
        """Return the next message; None after `seconds` without one.

        Then a ping is sent, and BrokerUnavailable is raised if no reply comes within the same time again.
        """
        with translated(self._where):
            message = await self._channels.get_message(timeout=seconds)
            if message is None:
                if self._asked:
                    raise exceptions.TimeoutError("no reply to a ping")
                self._asked = True
                async with asyncio.timeout(seconds):
                    await self._channels.ping()
                return None
        self._asked = False
        said = message["data"] if message["type"] == "message" else b""
        return News((message["channel"] or b"").decode(), said) if message["type"] in ("message", "subscribe") else None
