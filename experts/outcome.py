"""Which Failure an error stands for: those of this project, and those by which the usual clients say what went wrong.

Clients of HTTP, databases and queues are told by their form (names of classes, a status, a Retry-After header), since
none of them is imported here. What nobody meant is a bug and no failure: it would go wrong again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from typing import Any

from swarm.errors import BadInput, BrokerError, ExpertError
from swarm.llm.openai.retry_after import retry_after
from swarm.types.result import Failure, as_reason

MAX_WORDS = 500
"""Characters of a foreign error's words."""

_PASSES = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNRESET ECONNREFUSED ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENETRESET "
        "ENOTCONN EAGAIN"
    ).split()
    if hasattr(errno, name)
)
"""Numbers of an OSError that speak of the network and not of this machine."""
_AWAY = frozenset(
    "ConnectionError ConnectError ReadError WriteError CloseError NetworkError ProxyError RemoteProtocolError "
    "ConnectionClosed ConnectionClosedError ConnectTimeout ReadTimeout Timeout TimeoutError TimeoutException "
    "ServerTimeoutError APIConnectionError ClientConnectionError ServerDisconnectedError ClientPayloadError "
    "ChunkedEncodingError ProtocolError IncompleteRead HTTPClientError MaxRetryError NewConnectionError AutoReconnect "
    "ServerSelectionTimeoutError ConnectionDoesNotExistError CannotConnectNowError SSLEOFError gaierror".split()
)
"""What clients call their classes of a server that cannot be reached, hangs up or is too slow."""
_STAYS = frozenset("SSLCertVerificationError SSLError ClientConnectorCertificateError CertificateError".split())
"""Classes below those that no further try mends."""
_THROTTLED = ("throttl", "toomanyrequests", "requestlimitexceeded", "slowdown", "provisionedthroughputexceeded")
"""In the error codes of AWS, whose status is 400."""


def words_of(error: BaseException) -> str:
    """The type and the message of an error in one line."""
    return f"{type(error).__name__}: {said_by(error)}"[:MAX_WORDS].strip()


def said_by(error: BaseException) -> str:
    """The message of an error in one line, also where it cannot be made."""
    try:
        return " ".join(str(error).split())[:MAX_WORDS]
    except BaseException as broken:  # its __str__ may raise anything, and this must not
        return f"(its message cannot be read: {type(broken).__name__})"


def known_failure(error: BaseException) -> Failure | None:
    """The Failure that an error stands for; None for one that nobody meant.

    Of a group whose errors are all known, the first of which no further try is made, or else the first.
    """
    if isinstance(error, ExceptionGroup):
        failures = [known_failure(part) for part in error.exceptions]
        known = [failure for failure in failures if failure is not None]
        if len(known) < len(failures):
            return None
        return next((failure for failure in known if not failure.retryable), known[0])
    if isinstance(error, ExpertError):
        return Failure(
            reason=as_reason(error.reason),
            message=_message(error),
            retryable=error.retryable,
            retry_after=error.retry_after,
            limited=error.limited,
            broken=error.broken,
        )
    if isinstance(error, BadInput):
        return Failure(reason="bad_input", message=_message(error))
    if isinstance(error, BrokerError):  # the files of an expert are in Redis
        return Failure(reason="unavailable", message=_message(error), retryable=True)
    if isinstance(error, ModuleNotFoundError):
        return Failure(reason="missing_dependency", message=f"{_message(error)}; install it beside this worker")
    return foreign_failure(error)


def foreign_failure(error: BaseException) -> Failure | None:
    """The Failure of a server that an expert in plain Python asked; None where the error says nothing of one."""
    if not isinstance(error, Exception):
        return None
    try:
        if (status := _status(error)) is not None:
            return _answered(error, status)
        away = _is_away(error)
    except Exception:  # attributes of foreign errors may raise
        return None
    return Failure(reason="unavailable", message=words_of(error), retryable=True) if away else None


def _answered(error: Exception, status: int) -> Failure | None:
    """What the status of a server's answer means; None for one that is no error."""
    throttled = status == 429 or _is_throttled(error)
    if status < 400:
        return None
    if not (throttled or status >= 500 or status in (408, 425)):
        return Failure(reason="refused", message=f"{words_of(error)} (HTTP {status}; another try would not help)")
    return Failure(
        reason="unavailable",
        message=f"{words_of(error)} (HTTP {status})",
        retryable=True,
        retry_after=retry_after(_headers(error), "", time.time()),
        limited=throttled,
    )


def _status(error: Exception) -> int | None:
    """The HTTP status that an error carries, as requests, httpx, aiohttp, openai, urllib and botocore do."""
    response = getattr(error, "response", None)
    found = [
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "status", None),
    ]
    if isinstance(response, Mapping):
        about = response.get("ResponseMetadata")
        found.append(about.get("HTTPStatusCode") if isinstance(about, Mapping) else None)
    if type(error).__module__ == "urllib.error":
        found.append(getattr(error, "code", None))
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and 100 <= n <= 599), None)


def _is_throttled(error: Exception) -> bool:
    response = getattr(error, "response", None)
    told = response.get("Error") if isinstance(response, Mapping) else None
    code = told.get("Code") if isinstance(told, Mapping) else None
    return isinstance(code, str) and any(word in code.lower() for word in _THROTTLED)


def _headers(error: Exception) -> dict[str, str]:
    """The headers of the answer that an error carries, by their names in lower case."""
    for holder in (getattr(error, "response", None), error):
        headers: Any = getattr(holder, "headers", None)
        if headers is None and isinstance(holder, Mapping):
            about = holder.get("ResponseMetadata")
            headers = about.get("HTTPHeaders") if isinstance(about, Mapping) else None
        if hasattr(headers, "items"):
            return {str(name).lower(): str(value) for name, value in headers.items()}
    return {}


def _is_away(error: BaseException) -> bool:
    """Whether an error says that a server cannot be reached, hung up or was too slow."""
    cause = getattr(error, "reason", None)  # of urllib and urllib3
    if isinstance(cause, Exception) and cause is not error:
        return _is_away(cause)
    names = set(_names(error))
    if names & _STAYS:
        return "SSLEOFError" in names
    if names & _AWAY:
        return True
    return isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in _PASSES)


def _names(error: BaseException) -> Iterator[str]:
    return (kind.__name__ for kind in type(error).__mro__)


def _message(error: Exception) -> str:
    """The words of an error that was meant, which may still fail to give them."""
    try:
        return str(error)
    except Exception:
        return words_of(error)
