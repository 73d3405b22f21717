"""One Redis: its connection, its scripts, and its errors in our words.

Calls made in the same turn of the event loop travel together: concurrent callers cost one round trip. Nothing is
repeated here. A caller who does not know whether a call arrived may repeat it, because every script is idempotent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from swarm.broker.keys import Keys
from swarm.errors import (
    BadInput,
    BrokerDenied,
    BrokerError,
    BrokerFull,
    BrokerReadOnly,
    BrokerUnavailable,
    SwarmError,
)

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

CONNECT_TIMEOUT = 3.0
"""Seconds."""
ANSWER_TIMEOUT = 10.0
"""Seconds without an answer after which a connection counts as dead."""
BATCH = 256
"""Calls that travel together at most."""


LIBRARY = ("_base", "_money", "_gates", "_queue", "_jobs")
"""What all scripts share, in the order in which one uses the other."""


@cache
def source(name: str) -> str:
    """The text of a script: what all share, then its own."""
    folder = files("swarm.broker") / "scripts"
    return "".join((folder / f"{part}.lua").read_text() for part in (*LIBRARY, name))


@cache
def digest(name: str) -> str:
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    return scheme + mark + rest.rpartition("@")[2].partition("?")[0]


def open_client(url: str, kind: type[Redis] = Redis, **options: Any) -> Redis:
    """A client for `url` (redis://, rediss:// or unix://) that never repeats a command on its own."""
    defaults: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": ANSWER_TIMEOUT,
        "health_check_interval": 0,
    }
    try:
        client: Redis = kind.from_url(url, **(defaults | options))
    except (ValueError, TypeError):
        # what the library says of it may hold a piece of the password
        remedy = "use redis://HOST:6379/0, rediss:// or unix:///PATH"
        raise BadInput("redis", f"{shown(url)!r} is no URL of a Redis", remedy) from None
    return client


def translate(error: BaseException, where: str) -> SwarmError:
    """What redis-py raised, as one of ours."""
    if isinstance(error, exceptions.ConnectionError) and isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # what Redis answered to the greeting
    text = str(error)
    match error:
        case SwarmError():
            return error
        case exceptions.AuthenticationError() | exceptions.AuthorizationError() | exceptions.NoPermissionError():
            return BrokerDenied(where, text)
        case exceptions.ReadOnlyError():
            return BrokerReadOnly(where)
        case exceptions.OutOfMemoryError():
            return BrokerFull(where, text)
        case exceptions.ResponseError() if text.startswith("MISCONF") or "OOM command" in text:
            return BrokerFull(where, text)
        case exceptions.ResponseError() if text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
            return BrokerDenied(where, text)
        case exceptions.ResponseError() if "unauthenticated" in text:  # a long command before any password
            return BrokerDenied(where, text)
        case exceptions.ResponseError() if "READONLY" in text:
            return BrokerReadOnly(where)
        case exceptions.ConnectionError() | exceptions.TimeoutError() | OSError():
            return BrokerUnavailable(where, text or type(error).__name__)
        case exceptions.ResponseError() if text.startswith(("LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN")):
            return BrokerUnavailable(where, text)
    return BrokerError(f"Redis at {where}: {text}")


class Connection:
    """Scripts and commands on one Redis, over one connection of its own.

    Raises the `BrokerError`s of `swarm.errors`, and those only.
    """

    def __init__(self, client: Redis, keys: Keys, where: str) -> None:
        self.client, self.keys, self.where = client, keys, where
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._wire: Any = None

    @classmethod
    def open(cls, url: str, prefix: str = "swarm") -> Self:
        """A connection that is made when it is first used."""
        return cls(open_client(url), Keys(prefix), shown(url))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close; calls that still wait fail."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        await self._hang_up()
        await self.client.aclose()

    async def script(self, name: str, *args: Any) -> Any:
        """Run a script of ours on the keys under our prefix."""
        try:
            return await self.call("EVALSHA", digest(name), 1, self.keys.prefix, *args)
        except BrokerError as error:
            if not isinstance(error.__cause__, exceptions.NoScriptError):
                raise
        return await self.call("EVAL", source(name), 1, self.keys.prefix, *args)

    async def call(self, *command: Any) -> Any:
        """Run one command and give its raw answer: bytes, numbers, lists."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # packed here, so that what cannot be sent fails its caller and nobody else
        self._waiting.append((_packed(command), future))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        try:
            return await future
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise translate(error, self.where) from error

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                await self._exchange(batch)
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                _fail(batch, error)
                await self._hang_up()
            except asyncio.CancelledError:
                _fail(self._waiting, exceptions.ConnectionError("closed"))
                self._waiting.clear()
                raise
            finally:
                # whatever happened, nobody waits for an answer that will not come
                _fail(batch, exceptions.ConnectionError("closed"))

    async def _exchange(self, batch: Sequence[tuple[bytes, asyncio.Future[Any]]]) -> None:
        if self._wire is not None and _closed(self._wire):
            await self._hang_up()  # Redis restarted since; nothing is sent yet, so nothing is repeated
        if self._wire is None:
            self._wire = self.client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            await self._wire.connect()
        await self._wire.send_packed_command(b"".join(command for command, _ in batch))
        for _, future in batch:
            try:
                answer = await self._wire.read_response()
            except exceptions.ResponseError as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(answer)

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.disconnect(nowait=True)


def _closed(wire: Any) -> bool:
    """Whether the other side has hung up meanwhile."""
    reader = wire._reader
    return bool(reader is None or reader.at_eof() or reader.exception() is not None)


def _packed(command: tuple[Any, ...]) -> bytes:
    """A command as Redis reads it; hiredis, where it is installed, does this ten times as fast."""
    try:
        if hiredis is not None:
            return bytes(hiredis.pack_command(command))
        words = [word if isinstance(word, bytes) else _text(word).encode() for word in command]
    except UnicodeEncodeError:
        raise BadInput("text", "it is not valid Unicode", "send UTF-8 text") from None
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _text(word: object) -> str:
    if not isinstance(word, str | int | float):
        raise TypeError(f"{type(word).__name__} cannot be sent to Redis")
    return str(word)


def _fail(batch: Sequence[tuple[bytes, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
