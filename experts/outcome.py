"""Turns what an expert returned or raised into an Outcome: a checked Solution or a Failure.

`judged` checks a result; `known_failure` translates an error, of this project or of a common client library.
Errors of client libraries (HTTP, databases, queues) are recognised by class name, status and Retry-After header, since
none of those libraries is imported here. Any other error is a bug of the expert, which another attempt would repeat.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from experts.output_schema import misfit, too_deep
from experts.result_repair import repaired
from swarm.errors import BadInput, BrokerError, ExpertError
from swarm.llm.openai.retry_after import retry_after
from swarm.runtime.thread_pool import in_thread
from swarm.types.base import MAX_DEPTH
from swarm.types.card import Card, is_local
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Outcome, Solution, as_reason

MAX_SOLUTION = 1_000_000
"""Maximum size of a solution in bytes of JSON."""
MAX_MESSAGE = 2_000
"""Maximum characters of a Failure's message, which is stored in the job's log and sent to all its readers."""
MAX_WORDS = 500
"""Maximum characters of the message of an error from a client library."""

_PASSES = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNRESET ECONNREFUSED ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENETRESET "
        "ENOTCONN EAGAIN"
    ).split()
    if hasattr(errno, name)
)
"""`errno` values of network failures, which may pass."""
_AWAY = frozenset(
    "ConnectionError ConnectError ReadError WriteError CloseError NetworkError ProxyError RemoteProtocolError "
    "ConnectionClosed ConnectionClosedError ConnectTimeout ReadTimeout Timeout TimeoutError TimeoutException "
    "ServerTimeoutError APIConnectionError ClientConnectionError ServerDisconnectedError ClientPayloadError "
    "ChunkedEncodingError ProtocolError IncompleteRead HTTPClientError MaxRetryError NewConnectionError AutoReconnect "
    "ServerSelectionTimeoutError ConnectionDoesNotExistError CannotConnectNowError SSLEOFError gaierror".split()
)
"""Error classes of client libraries for a server that is unreachable, disconnects or times out."""
_STAYS = frozenset("SSLCertVerificationError SSLError ClientConnectorCertificateError CertificateError".split())
"""Subclasses of those for which a retry is useless."""
_THROTTLED = ("throttl", "toomanyrequests", "requestlimitexceeded", "slowdown", "provisionedthroughputexceeded")
"""Parts of AWS error codes for throttling, which come with status 400."""


async def judged(solution: object, card: Card, subtask: Subtask) -> Outcome:
    """Check a result of an expert: plain JSON, within the size limits, and valid by the output schema.

    The subtask's schema takes precedence over the card's. A bad result of a language model is retryable; that of a
    program is not, since it would be the same again.
    """
    again = not is_local(card.model)
    if not isinstance(solution, Solution):
        return Failure(reason="bug", message=f"{card.name} returned {type(solution).__name__}, not a Solution")
    solution = repaired(solution)
    try:
        encoded = solution.model_dump_json()
    except (ValueError, RecursionError) as error:
        return Failure(reason="bad_output", message=f"the solution is not JSON: {str(error)[:300]}", retryable=again)
    if (size := len(encoded.encode())) > MAX_SOLUTION:
        message = f"the solution has {size:,} bytes, at most {MAX_SOLUTION:,} may travel; ask for less"
        return Failure(reason="too_large", message=message, usage=solution.usage)
    data = None if solution.data is None else json.loads(encoded)["data"]
    if too_deep(data):
        message = f"the data is nested more than {MAX_DEPTH} levels deep; ask for flatter data"
        return Failure(reason="bad_output", message=message, retryable=again, usage=solution.usage)
    if problem := await _misfit(data, solution.text, card, subtask):
        return Failure(reason="bad_output", message=problem, retryable=again, usage=solution.usage)
    return solution if solution.data is None else Solution.model_validate_json(encoded)


async def _misfit(data: object, text: str, card: Card, subtask: Subtask) -> str | None:
    if card.output is None and subtask.output is None:
        return None
    schema = (card.output or {}) if subtask.output is None else subtask.output
    return await in_thread(misfit, data, text, schema)


def shortened(failure: Failure) -> Failure:
    """Cut a failure's message to MAX_MESSAGE characters of valid Unicode."""
    message = failure.message.encode("utf-8", "replace").decode()
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 3] + "..."
    return failure if message == failure.message else failure.model_copy(update={"message": message})


def describe_error(error: BaseException) -> str:
    """Format an error as `Type: message` in one line."""
    return f"{type(error).__name__}: {error_message(error)}"[:MAX_WORDS].strip()


def error_message(error: BaseException) -> str:
    """The message of an error in one line. Never raises, even if `str(error)` does."""
    try:
        return " ".join(str(error).split())[:MAX_WORDS]
    except BaseException as broken:  # its __str__ may raise anything, and this must not
        return f"(its message cannot be read: {type(broken).__name__})"


def known_failure(error: BaseException) -> Failure | None:
    """Translate an error into a Failure; None for an unexpected one, which is a bug.

    A group whose errors are all known gives the first that is not retryable, else its first.
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
            limited=error.call.limited,
            broken=error.call.breaker_open,
        )
    if isinstance(error, BadInput):
        return Failure(reason="bad_input", message=_message(error))
    if isinstance(error, BrokerError):  # the files of an expert are in Redis
        return Failure(reason="unavailable", message=_message(error), retryable=True)
    if isinstance(error, ModuleNotFoundError):
        return Failure(reason="missing_dependency", message=f"{_message(error)}; install it beside this worker")
    return foreign_failure(error)


def foreign_failure(error: BaseException) -> Failure | None:
    """Translate an error of a client library into a Failure; None if it is not a failure of a server."""
    if not isinstance(error, Exception):
        return None
    try:
        if (status := _status(error)) is not None:
            return _answered(error, status)
        away = _is_away(error)
    except Exception:  # attributes of foreign errors may raise
        return None
    return Failure(reason="unavailable", message=describe_error(error), retryable=True) if away else None


def _answered(error: Exception, status: int) -> Failure | None:
    """Translate an HTTP status into a Failure; None for a status below 400."""
    throttled = status == 429 or _is_throttled(error)
    if status < 400:
        return None
    if not (throttled or status >= 500 or status in (408, 425)):
        return Failure(reason="refused", message=f"{describe_error(error)} (HTTP {status}; another try would not help)")
    return Failure(
        reason="unavailable",
        message=f"{describe_error(error)} (HTTP {status})",
        retryable=True,
        retry_after=retry_after(_headers(error), "", time.time()),
        limited=throttled,
    )


def _status(error: Exception) -> int | None:
    """The HTTP status of an error of requests, httpx, aiohttp, openai, urllib or botocore; else None."""
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
    details = response.get("Error") if isinstance(response, Mapping) else None
    code = details.get("Code") if isinstance(details, Mapping) else None
    return isinstance(code, str) and any(word in code.lower() for word in _THROTTLED)


def _headers(error: Exception) -> dict[str, str]:
    """The response headers that an error carries, with names in lower case."""
    for holder in (getattr(error, "response", None), error):
        headers: Any = getattr(holder, "headers", None)
        if headers is None and isinstance(holder, Mapping):
            about = holder.get("ResponseMetadata")
            headers = about.get("HTTPHeaders") if isinstance(about, Mapping) else None
        if hasattr(headers, "items"):
            return {str(name).lower(): str(value) for name, value in headers.items()}
    return {}


def _is_away(error: BaseException) -> bool:
    """Whether an error means that a server is unreachable, disconnected or timed out."""
    cause = getattr(error, "reason", None)  # set by urllib and urllib3
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
    """The message of an expected error, also if its `__str__` raises."""
    try:
        return str(error)
    except Exception:
        return describe_error(error)
