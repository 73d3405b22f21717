"""Where a job stands, for its caller."""

from __future__ import annotations

from typing import Self

from swarm.models import Usage
from swarm.progress import SETTLED, Progress
from swarm.values import Value


class JobStatus(Value):
    """A job at one moment. A subtask that runs once for each item of a list counts as its items."""

    job: str
    state: str
    """`queued`, `planning`, `running`, or the ending."""
    subtasks: int = 0
    """Those known so far."""
    settled: int = 0
    """Those of them that need nothing more: solved, skipped or given up."""
    running: tuple[str, ...] = ()
    """Those that an expert has, or that wait in its queue."""
    failed: tuple[str, ...] = ()
    """Those that were given up."""
    usage: Usage = Usage()
    """What was used so far, by calls that are over."""

    @classmethod
    def of(cls, job: str, progress: Progress) -> Self:
        steps = {name: s for name, s in progress.steps.items() if s.state != "withdrawn" and not s.items}
        return cls(
            job=job,
            state=_state(progress),
            subtasks=len(steps),
            settled=sum(step.state in SETTLED for step in steps.values()),
            running=tuple(name for name, step in steps.items() if step.state == "running"),
            failed=tuple(name for name, step in steps.items() if step.state in ("failed", "dropped")),
            usage=progress.usage,
        )


def _state(progress: Progress) -> str:
    if progress.ended and progress.cause is not None:
        return progress.cause
    if progress.steps and progress.open_round is None:
        return "running"
    return "planning" if progress.open_round is not None else "queued"
