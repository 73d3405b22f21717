"""The answer to a request, the receipt of a job, and one line of a list of jobs."""

from __future__ import annotations

from typing import Any, Literal, get_args

from swarm.types.base import Value
from swarm.types.result import Caveats, Citation, FailedModel, Usage

Ending = Literal["cancelled", "over_budget", "deadline", "rejected", "failed", "partial", "completed"]


ENDINGS: frozenset[str] = frozenset(get_args(Ending))


class Segment(Value):
    """A part of an answer, and the subtasks and citations behind it."""

    text: str
    subtasks: tuple[str, ...]
    expert: str
    citations: tuple[Citation, ...] = ()
    model: str = ""
    """The models that answered its own subtasks."""
    confidence: float | None = None
    """The lowest of its own subtasks that have one."""
    caveats: Caveats = ()
    failed_models: tuple[FailedModel, ...] = ()


class Missing(Value):
    """A part the answer lacks, and why. `because` is the subtask whose failure took this one with it."""

    subtask: str
    expert: str
    reason: str
    message: str = ""
    because: str | None = None


class Answer(Value):
    """The one answer of a job: what was found, where each part came from, and what is missing."""

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
    """The part of `usage` that went to subtasks which the plan then no longer had."""
    reason: str = ""
    """One sentence on why the job ended like this, where that is not plain."""
    found: bool = True
    """False: of the results that the answer shows, none found what it looked for."""


class Part(Value):
    """One attempt at a subtask, as a receipt lists it."""

    subtask: str
    attempt: int
    expert: str
    how: Literal["finished", "failed", "stopped", "withdrawn"]
    usage: Usage = Usage()
    unknown: bool = False
    """It was stopped at work: nobody knows what its last call used, which is `usage.presumed` at most."""
    model: str = ""
    """The model that answered."""
    failed_models: tuple[FailedModel, ...] = ()
    """Models that were asked before it, in order."""


class Receipt(Value):
    """What became of a job's parts, and what they used. Subtask attempts are named `subtask:attempt`."""

    job: str
    ending: Ending | None = None
    """None: the job goes on."""
    stopped: tuple[str, ...] = ()
    """Attempts that were running and have been stopped."""
    withdrawn: tuple[str, ...] = ()
    """Attempts that were queued and will not run."""
    finished: tuple[str, ...] = ()
    """Subtasks that have a result."""
    cancelled: tuple[str, ...] = ()
    """Subtasks and items that were cancelled one by one."""
    parts: tuple[Part, ...] = ()
    """Every attempt that was released and is over, in the order of its release."""
    usage: Usage = Usage()
    """Of the whole job, planning and the answer included."""


class JobInfo(Value):
    """A line of `jobs`."""

    id: str
    tenant: str
    text: str
    """The first characters of the request."""
    accepted_at: int
    state: str
    """`queued`, `planning`, `running`, or the ending."""
    settled: int = 0
    """As in `JobStatus`: solved, skipped or given up."""
    subtasks: int = 0
    cost: int = 0
    """Micro-dollars, settled."""
    presumed: int = 0
