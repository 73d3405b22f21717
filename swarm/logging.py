"""Logging, configured once at the entry of a process, and the names of log events.

Lines are formatted for people on a terminal and as JSON elsewhere. They contain ids, sizes and times, and no text of
requests, plans, answers or servers, unless `SWARM_LOG_CONTENTS` is set. Fields in milliseconds end in `_ms`, money is
micro-dollars, and empty fields (no tokens, no limiter) are left out. Lines of a delivery have

    job, subtask, attempt, expert   for a subtask; a planner's and an answer's have job and `for`: `plan` or `answer`

and two events trace a job. `delivery_done`, when a worker has finished a delivery (info; `advance`: debug), has

    worker, delivery, claim, queue  the worker, and the delivery with its claim number and queue
    queue_wait_ms                   from when it was due until it was claimed
    limited_by, limited_ms          the limiter or budget that held it back longest in that time
    ms                              from the claim until all is written
    calls, input_tokens, ...        usage of its model calls, as in `Usage`
    outcome                         `ok`, a failure's reason, or `parked`, `stopped`, `handed_back`, `failed` (our bug),
                                    `left` (to its lease: the worker had to end while Redis was unavailable)

and `model_called`, at the end of every model call (info):

    endpoint, model                 `model` is endpoint/model, as in cards
    ms, rate_wait_ms, first_ms      the whole call; the wait for room in budgets; from the request to the first token
    calls, input_tokens, ...        as above; `estimated`: tokens not reported; `unknown`, `presumed`: of unknown fate
    sampling                        temperature, max_tokens, ... that were sent; of `extra` only the names
    way, dropped                    how JSON was requested, and what was left out of its schema
    outcome                         `ok`, `cut`, the error's reason, or `cancelled`, `closed` (by the caller), `failed`
    error                           the error, without the server's text
    prompt, answer, thoughts        only with SWARM_LOG_CONTENTS
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import structlog
from pydantic_core import to_json

from swarm.errors import BrokerError
from swarm.types.result import Usage

STARTED, STOPPED, LEFT_HARD = "worker_started", "worker_stopped", "worker_left_hard"
DELIVERED, DELIVERY_FAILED, DELIVERY_STOPPED = "delivery_done", "delivery_failed", "delivery_stopped"
DELIVERY_LEFT = "delivery_left"
CALLED = "model_called"
JOB_ENDED = "job_ended"
REDIS_AWAY, REDIS_BACK = "redis_away", "redis_back"
LOOP_RESTARTED = "loop_restarted"
CATALOG, REFUSED_CARD = "catalog_changed", "card_refused"
LEFT_OUT, INDEXING = "documents_left_out", "documents_indexing"
SERVING = "serving"
SERVES_NOTHING = "serving_nothing"
STATS_LOST = "statistics_lost"
LOOP_HELD = "event_loop_held"
EXIT_IGNORED = "exit_ignored"
OVERSHOT = "reservation_overshot"
NO_MODEL = "model_not_set_up"
RECORDED = "limits_and_prices_recorded"
PLAN_CACHE = "plan_cache_asked"
VECTOR_CACHE_FAILED = "vector_cache_failed"
MODEL_FELL_BACK = "model_fell_back"
PLANNER_FELL_BACK, SYNTHESIS_FELL_BACK = "planner_fell_back", "synthesis_fell_back"

MOST_SHOWN = 4_000
"""Characters of a prompt or an answer in a line, at most."""
FRAMES = 40
"""Frames of a traceback in a line, the last ones."""

_BOUND: ContextVar[Mapping[str, Any]] = ContextVar("bound", default=MappingProxyType({}))


def setup(level: str = "info", *, as_json: bool | None = None, contents: bool = False) -> None:
    """Log to standard error. `as_json` None: readable lines on a terminal, else JSON.

    Without `contents`, errors are logged with their traceback only, since a message may repeat a prompt or an answer.
    """
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    traced = structlog.processors.ExceptionRenderer(_whole if contents else _frames)
    people = structlog.dev.ConsoleRenderer(sort_keys=False, colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            bound,
            structlog.processors.add_log_level,
            _stamped,
            traced,
            _as_json if as_json else people,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:
    """Return a logger. It follows the latest `setup`, even a later one."""
    return _Logger(name)


def bind(fields: Mapping[str, Any]) -> None:
    """Add these fields to all later log lines of this task and of the tasks it starts."""
    _BOUND.set(fields)


def bound(_: object, __: str, fields: Any) -> Any:
    """Structlog processor: put the fields of `bind` before the line's own."""
    return {**_BOUND.get(), **fields}


def used(usage: Usage) -> dict[str, Any]:
    """Return the fields of a usage that are not zero, for a log line."""
    return usage.model_dump(exclude_defaults=True)


def excerpt(text: str) -> str:
    """Shorten a prompt or an answer to what a line may hold: its beginning and its end."""
    half = MOST_SHOWN // 2
    return text if len(text) <= MOST_SHOWN else f"{text[:half]} ... ({len(text):,} characters) ... {text[-half:]}"


class _Logger:
    """Caches a structlog logger until structlog is configured again, since creating one takes longer than a line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._made: Any = None
        self._config: dict[str, Any] = {}

    def __getattr__(self, method: str) -> Any:
        if (config := structlog.get_config()) != self._config:
            self._made, self._config = structlog.get_logger(part=self._name).bind(), config
        return getattr(self._made, method)


class _Lines:
    """Writes log lines to the current standard error; a closed one is ignored, so that it ends no worker."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(message + "\n")  # flushes whole lines

    debug = info = warning = error = critical = msg


def _stamped(_: object, __: str, fields: Any) -> Any:
    now = time.time()
    fields["timestamp"] = f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"
    return fields


@lru_cache(maxsize=1)
def _second(now: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))


def _as_json(_: object, __: str, fields: Any) -> str:
    """Encode as ASCII JSON, since the encoding of standard error is unknown."""
    with contextlib.suppress(ValueError):  # a lone surrogate
        if (text := to_json(fields, fallback=repr)).isascii():
            return text.decode()
    return json.dumps(fields, default=repr)


def _whole(exc_info: Any) -> str:
    return "".join(traceback.format_exception(*exc_info))


def _frames(exc_info: Any) -> str:
    """Format the traceback and type of an error, without its message, unless it is our own BrokerError.

    An error from another process carries its frames there as text (`remote_frames`).
    """
    return "\n-- and so:\n".join(_traced(exc_info[1], set()))


def _traced(error: BaseException, seen: set[int]) -> Iterator[str]:
    if id(error) in seen:
        return
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for other in (*([before] if before else []), *getattr(error, "exceptions", ())):
        yield from _traced(other, seen)
    frames = "".join(traceback.extract_tb(error.__traceback__, limit=-FRAMES).format())
    frames += vars(type(error)).get("remote_frames", "")
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{frames}{name}: {error}" if isinstance(error, BrokerError) else frames + name
