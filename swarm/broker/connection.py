"""One Redis: its connection, its scripts, and its errors in our words.

Calls made in the same turn of the event loop travel together: concurrent callers cost one round trip. Nothing is
repeated here. A caller who does not know whether a call arrived may repeat it, because every script is idempotent.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, NamedTuple, Self

from redis import exceptions
from redis.asyncio import Redis

from swarm.broker.address import moves, open_client, shown
from swarm.broker.keys import Keys
from swarm.errors import (
    BadInput,
    BrokerDenied,
    BrokerError,
    BrokerFull,
    BrokerReadOnly,
    BrokerUnavailable,
    BrokerUnconfirmed,
    BrokerUntrusted,
    SwarmError,
)

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

BATCH = 256
"""Calls that travel together at most."""
WAIT_MS = 1000
"""How long a durable write may take to reach a replica."""


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


AWAY = ("LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN", "BUSY ", "UNBLOCKED", "max number of clients")
"""What Redis answers when it may be there later. Inside a script Redis 6 puts words of its own before it."""
DENIED = ("NOAUTH", "WRONGPASS", "NOPERM", "The user executing the script", "unauthenticated")
"""The last one is said to a long command before any password."""


def translate(error: BaseException, where: str) -> SwarmError:
    """What redis-py raised, as one of ours."""
    if isinstance(error, exceptions.ConnectionError) and isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # what Redis answered to the greeting
    text = str(error)
    match error:
        case SwarmError():
            return error
        case exceptions.ReadOnlyError() | exceptions.ResponseError() if _read_only(error):
            return BrokerUnavailable(where, "the master has moved") if moves(where) else BrokerReadOnly(where)
        case exceptions.RedisError() if "DB index" in text or text == "Invalid Database":
            return BrokerDenied(where, text, "name a database that it has, such as /0 at the end of the URL")
        case exceptions.RedisError() if "protected mode" in text:
            cause = "it runs in protected mode"
            return BrokerDenied(where, cause, "give the server a password (requirepass or ACL), and the URL with it")
        case exceptions.AuthenticationError() | exceptions.AuthorizationError() | exceptions.NoPermissionError():
            return BrokerDenied(where, text)
        case exceptions.ClusterError() | exceptions.AskError() | exceptions.ClusterDownError():
            return BrokerDenied(where, text, "a Redis Cluster is not supported: use one server, or Sentinel")
        case exceptions.OutOfMemoryError():
            return BrokerFull(where, text)
        case exceptions.ResponseError() if "MISCONF" in text or "OOM command" in text:
            return BrokerFull(where, text)
        case exceptions.ResponseError() if any(part in text for part in DENIED):
            return BrokerDenied(where, text)
        case exceptions.ResponseError() if any(part in text for part in AWAY):
            return BrokerUnavailable(where, text)
        case exceptions.ConnectionError() | OSError() if (why := _tls(error)) is not None:
            return BrokerUntrusted(where, why)
        case exceptions.TimeoutError() if where.startswith("rediss") and "connecting" in text:
            return BrokerUnavailable(where, "no answer to TLS; if that port has none, the URL begins with redis://")
        case exceptions.ConnectionError() | exceptions.TimeoutError() | OSError():
            return BrokerUnavailable(where, text or type(error).__name__)
    return BrokerError(f"Redis at {where}: {text}")


def _read_only(error: BaseException) -> bool:
    return isinstance(error, exceptions.ReadOnlyError) or "READONLY" in str(error)


def _tls(error: BaseException) -> str | None:
    """What TLS had against a connection, if that is why there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause)
        cause = cause.__cause__ or cause.__context__
    return None


class Call(NamedTuple):
    """A command under way: as Redis reads it, and who waits for the answer."""

    packed: bytes
    answer: asyncio.Future[Any]


class Connection:
    """Scripts and commands on one Redis, over one connection of its own; over a second one where a replica must follow.

    Raises the `BrokerError`s of `swarm.errors`, and those only.
    """

    def __init__(self, client: Redis, keys: Keys, where: str) -> None:
        self.client, self.keys, self.where = client, keys, where
        self._plain = _Wire(client, self._suspect)
        # a wire that waits for replicas holds up what comes behind, which must be no claim and no sign of life
        confirm = (_packed(("PUBLISH", keys.confirmed, "")), _packed(("WAIT", 1, WAIT_MS)))
        self._safe = _Wire(client, self._suspect, ending=confirm)

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
        await self._plain.aclose()
        await self._safe.aclose()
        await self.client.aclose()

    async def script(self, name: str, *args: Any, durable: bool = False) -> Any:
        """Run a script of ours on the keys under our prefix.

        With `durable` the answer comes when a replica has all that was written before it. Raises BrokerUnconfirmed
        when none has it within a second: it is written all the same, and calling again waits for a replica again.
        """
        try:
            return await self._call(("EVALSHA", digest(name), 1, self.keys.prefix, *args), durable)
        except BrokerError as error:
            if not isinstance(error.__cause__, exceptions.NoScriptError):
                raise
        return await self._call(("EVAL", source(name), 1, self.keys.prefix, *args), durable)

    async def call(self, *command: Any) -> Any:
        """Run one command and give its raw answer: bytes, numbers, lists."""
        return await self._call(command, False)

    def _suspect(self) -> None:
        """What one wire lost, such as a master that hangs, the other one must not wait for as well."""
        self._plain.suspect = self._safe.suspect = True

    async def _call(self, command: tuple[Any, ...], durable: bool) -> Any:
        try:
            return await (self._safe if durable else self._plain).call(_packed(command))
        except _Unconfirmed as error:
            raise BrokerUnconfirmed(self.where, WAIT_MS / 1000) from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise translate(error, self.where) from error


class _Unconfirmed(exceptions.RedisError):
    """No replica has said that it has what was written."""


class _Wire:
    """One connection, over which calls of the same turn travel together.

    `ending`, if given, goes behind each batch: a write, which no replica passes over, and a WAIT. What WAIT counts is
    what the batch is confirmed by. The write makes it cover what an earlier call has written, also over another wire.
    """

    def __init__(self, client: Redis, lost: Callable[[], None], ending: tuple[bytes, bytes] | None = None) -> None:
        self._client, self._lost, self._ending = client, lost, ending
        self.suspect = False
        """Whether to connect anew before the next batch."""
        self._waiting: list[Call] = []
        self._sender: asyncio.Task[None] | None = None
        self._wire: Any = None

    async def aclose(self) -> None:
        while self._sender is not None and not self._sender.done():
            self._sender.cancel()
            # asyncio.wait_for, inside the library, may miss a cancel before Python 3.12
            await asyncio.wait((self._sender,), timeout=0.05)
        _fail(self._waiting, exceptions.ConnectionError("closed"))
        self._waiting.clear()
        await self._hang_up()

    def call(self, packed: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Call(packed, future))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return future

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                await self._exchange(batch)
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                _fail(batch, error)
                await self._hang_up()
                self._lost()
            finally:
                # whatever happened, nobody waits for an answer that will not come
                _fail(batch, exceptions.ConnectionError("closed"))

    async def _exchange(self, batch: Sequence[Call]) -> None:
        if self._wire is not None and (self.suspect or _closed(self._wire)):
            await self._hang_up()  # Redis restarted since; nothing is sent yet, so nothing is repeated
        self.suspect = False
        if self._wire is None:
            self._wire = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            await self._wire.connect()
        await self._wire.send_packed_command(b"".join((*(call.packed for call in batch), *(self._ending or ()))))
        moved, answers = False, []
        for call in batch:
            try:
                answer = await self._wire.read_response()
            except exceptions.ResponseError as error:
                moved = moved or _read_only(error)
                if not call.answer.done():
                    call.answer.set_exception(error)
            else:
                if self._ending is not None:
                    answers.append((call, answer))
                elif not call.answer.done():
                    call.answer.set_result(answer)
        if self._ending is not None:
            await self._confirm(answers)
        if moved:
            await self._hang_up()  # what was the master is none any more; the next call looks for the new one

    async def _confirm(self, answers: Sequence[tuple[Call, Any]]) -> None:
        """Give out answers once a replica has followed."""
        await self._wire.read_response()
        confirmed = await self._wire.read_response()
        if not confirmed:
            raise _Unconfirmed
        for call, answer in answers:
            if not call.answer.done():
                call.answer.set_result(answer)

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


def _fail(batch: Sequence[Call], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            call.answer.set_exception(error)
