"""Answer of a job, its receipt, and its entry in a list of jobs."""

from __future__ import annotations

from typing import Any, Literal, get_args

from swarm.types.base import Value
from swarm.types.result import Caveats, Citation, FailedModel, Usage

Ending = Literal["cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed"]


ENDINGS: frozenset[str] = frozenset(get_args(Ending))


class Segment(Value):
    """A part of an answer, with the subtasks and citations behind it."""

    text: str
    subtasks: tuple[str, ...]
    expert: str
    citations: tuple[Citation, ...] = ()
    model: str = ""
    """Models that answered its subtasks."""
    confidence: float | None = None
    """The lowest confidence of its subtasks; None if none has one."""
    caveats: Caveats = ()
    failed_models: tuple[FailedModel, ...] = ()


class Missing(Value):
    """A part that the answer lacks, and why. `because` is the failed subtask that it depended on."""

    subtask: str
    expert: str
    reason: str
    message: str = ""
    because: str | None = None


class Answer(Value):
    """The one answer of a job: its result, the source of each part, and what is missing."""

    job: str
    ending: Ending
    complete: bool
    text: str = ""
    data: Any = None
    aggregate: str = ""
    segments: tuple[Segment, ...] = ()
    missing: tuple[Missing, ...] = ()
    usage: Usage = Usage()
    discarded: Usage = Usage()
    """Part of `usage` spent on subtasks that a later plan dropped."""
    reason: str = ""
    """One sentence on why the job ended like this, unless that is obvious."""
    found: bool = True
    """False: no result in the answer found what it searched for."""


class Part(Value):
    """One attempt at a subtask, as a receipt lists it."""

    subtask: str
    attempt: int
    expert: str
    how: Literal["finished", "failed", "stopped", "withdrawn"]
    usage: Usage = Usage()
    unknown: bool = False
    """Whether it was stopped while running: the cost of its last call is unknown, at most `usage.presumed`."""
    model: str = ""
    """The model that answered."""
    failed_models: tuple[FailedModel, ...] = ()
    """Models that were tried before it, in order."""


class Receipt(Value):
    """How each attempt of a job ended, and its usage. Attempts are named `subtask:attempt`."""

    job: str
    ending: Ending | None = None
    """None: the job has not ended."""
    stopped: tuple[str, ...] = ()
    """Attempts that were stopped while running."""
    withdrawn: tuple[str, ...] = ()
    """Attempts that were queued and will not run."""
    finished: tuple[str, ...] = ()
    """Subtasks that have a result."""
    cancelled: tuple[str, ...] = ()
    """Subtasks and items that were cancelled individually."""
    parts: tuple[Part, ...] = ()
    """All attempts that were released and are over, in the order of their release."""
    usage: Usage = Usage()
    """Usage of the whole job, planning and the answer included."""


class JobInfo(Value):
    """An entry in a list of jobs."""

    id: str
    tenant: str
    text: str
    """The first characters of the request."""
    accepted_at: int
    state: str
    """`queued`, `planning`, `running`, or the ending."""
    settled: int = 0
    """Number of subtasks that are solved, skipped or given up, as in `JobStatus`."""
    subtasks: int = 0
    cost: int = 0
    """Micro-dollars, settled."""
    presumed: int = 0
    plan_only: bool = False
    """Whether it was only planned, as by `swarm plan`."""
