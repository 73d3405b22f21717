"""Being told that something happened to a job: one subscription connection for all that a process follows.

A message is a hint, never the only way: followers look for themselves now and then and after every break, so a lost
message delays, and never loses, what it told of.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from swarm.broker.subscription import Subscription
from swarm.errors import BrokerError

LOOK_AGAIN = 5.0
"""Seconds after which a follower looks at the log even if nobody told it to."""
LOOKS = 100.0
"""Such looks in a second, at most: the more followers wait, the longer each of them does."""
LISTEN = 1.0
"""Seconds between signs of life on a quiet subscription."""


class Listener:
    """Where one follower of a channel waits."""

    def __init__(self, patience: Callable[[], float]) -> None:
        self._patience = patience
        self._news = asyncio.Event()
        self._last = b""

    def tell(self, message: bytes = b"") -> None:
        """Something was said on the channel, or, if `message` is empty, perhaps."""
        self._last = message
        self._news.set()

    async def news(self) -> bytes:
        """What was said last on the channel; empty when it is time to look for oneself."""
        try:
            async with asyncio.timeout(self._patience()):
                await self._news.wait()
        except TimeoutError:
            return b""
        finally:
            self._news.clear()
        return self._last


class Notifications:
    """Tells places of news about their jobs. Nothing is opened before the first place is taken."""

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
        """A place on these channels for the block. What was said before is not told; look once it is taken."""
        place = Listener(self._patience)
        new = [name for name in names if name not in self._places]
        for name in names:
            self._places.setdefault(name, set()).add(place)
        try:
            if len(new) < len(names):
                place.tell()  # what the others were told it was too late for
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

    def _patience(self) -> float:
        return max(LOOK_AGAIN, len(self._places) / LOOKS)

    async def _subscribe(self, name: str) -> None:
        async with self._change:
            try:
                if self._channel is None:
                    await self._connect()
                else:
                    await self._channel.subscribe(name)
            except BrokerError:
                self._tell(name)  # nobody else will; whoever looks learns what is wrong
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())

    async def _unsubscribe(self, name: str) -> None:
        async with self._change:
            if self._channel is not None and name not in self._places:  # nobody has come meanwhile
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
        """Pass news on; after a break, connect again and let everybody look."""
        pause = 0.05
        while True:
            try:
                if self._channel is None:
                    async with self._change:
                        if not self._places:
                            return  # whoever comes next connects, and listens again
                        await self._connect()
                    self._tell_all()
                if self._channel is not None and (news := await self._channel.next(LISTEN)) is not None:
                    # from the confirmation on nothing is missed; what was said before has to be looked for
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
