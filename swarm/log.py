"""Logging, set up once at the edge of a process, and the names of our events.

Lines are for people on a terminal and JSON elsewhere. They carry ids, sizes and times, never what was asked or
answered.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import structlog

STARTED, STOPPED = "worker_started", "worker_stopped"
DELIVERED, DELIVERY_FAILED, DELIVERY_STOPPED = "delivery_done", "delivery_failed", "delivery_stopped"
REDIS_AWAY, REDIS_BACK = "redis_away", "redis_back"
CATALOG = "catalog_changed"
SERVING = "serving"
STATS_LOST = "statistics_lost"
OVERSHOT = "reservation_overshot"
NO_MODEL = "model_not_set_up"
PLAN_CACHE = "plan_cache_asked"
PLANNER_FELL_BACK, SYNTHESIS_FELL_BACK = "planner_fell_back", "synthesis_fell_back"

_FOREIGN = re.compile(
    r"(HTTP \d{3}|an error instead of an answer|the model will not answer this): "
    r"(?:.*(?=; (?:check the key of|check that|check the URL|wait, or raise|raise the quota))|.*)",
    re.DOTALL,
)


def setup(level: str = "info", *, as_json: bool | None = None) -> None:
    """Log to standard error. `as_json` None: as a person reads it on a terminal, else as JSON."""
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    # a plain traceback: the pretty ones show local variables, and with them what was asked and answered
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    last: Any = structlog.processors.JSONRenderer() if as_json else plain
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Writes lines to what is standard error at that moment. That nobody reads them must not end a worker."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(message, file=sys.stderr, flush=True)

    debug = info = warning = error = critical = msg


@contextlib.contextmanager
def about(job: str) -> Iterator[None]:
    """Lines that are written inside name this job."""
    with structlog.contextvars.bound_contextvars(job=job):
        yield


def own(message: str) -> str:
    """A model's error without the words of its server, which may repeat what was asked."""
    return _FOREIGN.sub(r"\1", message)


def get(name: str) -> Any:
    """A logger; what it prints is decided by `setup`, whenever that runs."""
    return structlog.get_logger(part=name)
