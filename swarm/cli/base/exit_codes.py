"""Exit codes of commands, and errors as text or JSON. Scripts rely on the codes: they do not change."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from swarm.errors import (
    BadInput,
    BrokerError,
    EmbeddedUnavailable,
    JobConflict,
    JobNotFound,
    Refused,
    SwarmError,
    WaitTimeout,
)
from swarm.runtime.thread_pool import LEFT_HARD
from swarm.types.answer import Answer, Ending

OK = 0
NO_ANSWER = 1
BAD_INPUT = 2
REFUSED = 3
REDIS = 4
NOT_FOUND = 5
WAITED = 6
CANCELLED = 7
INCOMPLETE = 8
FOUND_BAD = 9
NOTHING_FOUND = 10
BUG = 70
INTERRUPTED = 130
PIPE_CLOSED = 141

MEANING: Mapping[int, str] = MappingProxyType(
    {
        OK: "done; the job completed",
        NO_ANSWER: "the job failed or was rejected: there is no answer",
        BAD_INPUT: "wrong usage or bad input; the message names the remedy",
        REFUSED: "not accepted now: too many open jobs, no budget left, or swarm up is still starting",
        REDIS: "Redis is unreachable, denied, read-only or full, or cannot be started",
        NOT_FOUND: "no such job",
        WAITED: "the time limit of the wait passed; the job goes on",
        CANCELLED: "the job was cancelled",
        INCOMPLETE: "the answer is incomplete: partial, deadline, over_budget",
        FOUND_BAD: "swarm doctor found a problem; each line names its remedy",
        NOTHING_FOUND: "the job completed, but the experts found nothing",
        BUG: "a bug in swarm, with its traceback",
        LEFT_HARD: "a worker ended before its experts did; their subtasks were handed back",
        INTERRUPTED: "interrupted (Ctrl-C)",
    }
)

_ENDINGS: Mapping[Ending, int] = MappingProxyType(
    {
        "completed": OK,
        "failed": NO_ANSWER,
        "rejected": NO_ANSWER,
        "cancelled": CANCELLED,
        "partial": INCOMPLETE,
        "deadline": INCOMPLETE,
        "over_budget": INCOMPLETE,
    }
)

_EXTRAS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "cli": frozenset({"click", "rich", "typer", "yaml"}),
        "worker": frozenset(
            "arq httpx2 hiredis jinja2 jsonschema numpy openai referencing regex structlog uvloop".split()
        ),
    }
)


class PipeClosed(Exception):
    """The reader of our output has closed the pipe."""


class MissingExtra(SwarmError):
    """A command needs packages that a bare install does not have."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f'this needs the package {package}, which is not installed: pip install "swarm-router[{extra}]"'
        )


def of_ending(ending: Ending) -> int:
    return _ENDINGS[ending]


def of_answer(answer: Answer) -> int:
    """Return the exit code of an answer: by its ending, and, if completed, by whether anything was found."""
    code = of_ending(answer.ending)
    return NOTHING_FOUND if code == OK and not answer.found else code


def of_error(error: BaseException) -> int:
    """Return the exit code of an error."""
    match error:
        case BadInput() | JobConflict() | MissingExtra():
            return BAD_INPUT
        case Refused():
            return REFUSED
        case BrokerError() | EmbeddedUnavailable():
            return REDIS
        case JobNotFound():
            return NOT_FOUND
        case WaitTimeout():
            return WAITED
        case SwarmError():
            return NO_ANSWER
        case KeyboardInterrupt():
            return INTERRUPTED
    return BAD_INPUT if is_usage(error) else BUG


def is_usage(error: BaseException) -> bool:
    """Whether the command line itself was wrong. Decided by its methods, since Typer may bring its own Click."""
    return callable(getattr(error, "format_message", None))


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """Return the extra whose package is missing; None if the package belongs to no extra."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in _EXTRAS.items() if package in packages), None)
    return None if extra is None else MissingExtra(package, extra)


def words(error: BaseException) -> list[str]:
    """Return an error as lines for people: its message, then its notes."""
    if is_usage(error):
        context = getattr(error, "ctx", None)
        message = str(error.format_message())  # type: ignore[attr-defined]
        return [message or "no verb is given", f"see: {context.command_path if context else 'swarm'} --help"]
    if isinstance(error, KeyboardInterrupt):
        return ["interrupted"]
    return [str(error), *getattr(error, "__notes__", ())]


def document(error: BaseException) -> str:
    """Return an error as one JSON object: `type`, `message`, and its attributes."""
    about: dict[str, Any] = {"type": "Usage" if is_usage(error) else type(error).__name__}
    first, *more = words(error)
    about["message"] = "; ".join([first.rstrip(".") if more else first, *more])
    if of_error(error) == BUG:
        about["traceback"] = "".join(traceback.format_exception(error))
    facts = vars(error).items() if isinstance(error, SwarmError) else ()
    for name, value in facts:
        if isinstance(value, (str, int, float, tuple)) and value not in ("", ()) and name != "problem":
            about[{"job_id": "job"}.get(name, name)] = value
    return json.dumps({"error": about})
