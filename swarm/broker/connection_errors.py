"""Translation of connection errors into BrokerErrors, in one place.

A connection may break at every await, with errors of redis-py, TLS or the event loop: OSError, EOFError, RuntimeError
(uvloop, on a closed transport), AttributeError (half of a connection is gone). A list of them would be incomplete, so
every use of a connection is in a `translated` block, which raises BrokerErrors only.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator
from typing import Any

from redis import exceptions

from swarm.broker.address import moves
from swarm.errors import (
    BrokerDenied,
    BrokerError,
    BrokerFull,
    BrokerReadOnly,
    BrokerUnavailable,
    BrokerUntrusted,
    SwarmError,
)

AWAY = ("LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN", "BUSY ", "UNBLOCKED", "max number of clients")
"""Parts of replies of a Redis that is unavailable for now. Inside a script Redis 6 prefixes them."""
DENIED = ("NOAUTH", "WRONGPASS", "NOPERM", "The user executing the script", "unauthenticated")
"""Parts of replies that deny access. The last one answers a long command before authentication."""
_TLS_BROKE = re.compile(r"EOF|RECORD|MAC|DECRYPT|DECODE|BAD_LENGTH|CLOSE_NOTIFY|UNEXPECTED_MESSAGE")
"""TLS reasons that mean a broken connection, not a bad certificate."""


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Translate any error of a connection in the block into a BrokerError."""
    try:
        yield
    except SwarmError:
        raise
    except Exception as error:
        raise translate(error, where) from error


async def hang_up(wire: Any) -> None:
    """Close a redis-py connection in any state. Raises nothing."""
    if wire is not None:
        with contextlib.suppress(Exception):
            await wire.disconnect(nowait=True)


def translate(error: BaseException, where: str) -> SwarmError:
    """Translate an error of redis-py or the event loop into a SwarmError."""
    if isinstance(error, exceptions.ConnectionError) and isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # the reply to the handshake
    text = str(error)
    match error:
        case SwarmError():
            return error
        case exceptions.ReadOnlyError() | exceptions.ResponseError() if read_only(error):
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
            return BrokerUnavailable(where, "no reply to the TLS handshake; without TLS the URL begins with redis://")
        case exceptions.ConnectionError() | exceptions.TimeoutError():
            return BrokerUnavailable(where, text or type(error).__name__)
        case exceptions.RedisError():
            return BrokerError(f"Redis at {where}: {text}")
    return BrokerUnavailable(where, f"the connection broke: {text or type(error).__name__}")


def read_only(error: BaseException) -> bool:
    """Whether Redis refused a write because it is a replica."""
    return isinstance(error, exceptions.ReadOnlyError) or "READONLY" in str(error)


def _tls(error: BaseException) -> str | None:
    """Return the reason why TLS rejected a connection; None if the connection merely broke."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            reason = str(getattr(cause, "reason", "") or "")
            if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) or _TLS_BROKE.search(reason):
                return None
            return str(getattr(cause, "verify_message", "") or reason or cause)
        cause = cause.__cause__ or cause.__context__
    return None
