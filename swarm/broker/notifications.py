"""Notifications about jobs, over one subscription connection for all followers in a process.

A message is only a hint: followers also read the log periodically and after every reconnect, so a lost message delays
an event and never loses it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from swarm.broker.subscription import Subscription
from swarm.errors import BrokerError

LOOK_AGAIN = 5.0
"""Seconds after which a follower reads the log without a notification."""
LOOKS = 100.0
"""Such reads per second in a process, at most: the more followers, the longer each of them waits."""
LISTEN = 1.0
"""Seconds between pings on a quiet subscription."""


class Listener:
    """One follower of some channels, waiting for the next message."""

    def __init__(self, poll_interval: Callable[[], float]) -> None:
        self._poll_interval = poll_interval
        self._news = asyncio.Event()
        self._last = b""

    def tell(self, message: bytes = b"") -> None:
        """Wake the follower. An empty `message` means that one may have been missed."""
        self._last = message
        self._news.set()

    async def news(self) -> bytes:
        """Wait for a message and return the last one; empty when the follower should read the log itself."""
        try:
            async with asyncio.timeout(self._poll_interval()):
                await self._news.wait()
        except TimeoutError:
            return b""
        finally:
            self._news.clear()
        return self._last


class Notifications:
    """Delivers messages of channels to listeners. It connects when the first listener comes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._places: dict[str, set[Listener]] = {}
        self._channel: Subscription | None = None
        self._listening: asyncio.Task[None] | None = None
        self._change = asyncio.Lock()

    async def aclose(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._hang_up()

    @contextlib.asynccontextmanager
    async def place(self, *names: str) -> AsyncIterator[Listener]:
        """Listen on these channels in the block. Earlier messages are not delivered; read the log once inside."""
        place = Listener(self._poll_interval)
        new = [name for name in names if name not in self._places]
        for name in names:
            self._places.setdefault(name, set()).add(place)
        try:
            if len(new) < len(names):
                place.tell()  # it may have missed messages on channels that others follow already
            for name in new:
                await self._subscribe(name)
            yield place
        finally:
            for name in names:
                self._places[name].discard(place)
            left = [name for name in names if not self._places[name]]
            for name in left:
                del self._places[name]
            for name in left:
                await self._unsubscribe(name)

    def _poll_interval(self) -> float:
        return max(LOOK_AGAIN, len(self._places) / LOOKS)

    async def _subscribe(self, name: str) -> None:
        async with self._change:
            try:
                if self._channel is None:
                    await self._connect()
                else:
                    await self._channel.subscribe(name)
            except BrokerError:
                self._tell(name)  # the follower's own read then raises the error
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())

    async def _unsubscribe(self, name: str) -> None:
        async with self._change:
            if self._channel is not None and name not in self._places:  # no listener has come meanwhile
                with contextlib.suppress(BrokerError):
                    await self._channel.unsubscribe(name)

    async def _connect(self) -> None:
        await self._hang_up()
        channel = Subscription(self._url)
        try:
            await channel.subscribe(*self._places)
        except BaseException:
            await channel.aclose()
            raise
        self._channel = channel

    async def _listen(self) -> None:
        """Pass messages on; after a break, reconnect and wake every listener."""
        pause = 0.05
        while True:
            try:
                if self._channel is None:
                    async with self._change:
                        if not self._places:
                            return  # the next listener reconnects
                        await self._connect()
                    self._tell_all()
                if self._channel is not None and (news := await self._channel.next(LISTEN)) is not None:
                    # after the confirmation nothing is missed; earlier messages must be read from the log
                    self._tell(news.channel, news.message)
                pause = 0.05
            except BrokerError:
                async with self._change:
                    await self._hang_up()
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _tell(self, name: str, message: bytes = b"") -> None:
        for place in self._places.get(name, ()):
            place.tell(message)

    def _tell_all(self) -> None:
        for name in list(self._places):
            self._tell(name)

    async def _hang_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()
