"""Status of a job, for its caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from swarm.engine.progress import SETTLED, Progress
from swarm.types.answer import JobInfo
from swarm.types.base import Value
from swarm.types.result import Usage

SHOWN_TEXT = 60


class JobStatus(Value):
    """Status of a job at one moment. A `for_each` subtask counts as its items."""

    job: str
    state: str
    """`queued`, `planning`, `running`, or the ending."""
    subtasks: int = 0
    """Number of subtasks known so far."""
    settled: int = 0
    """Number of those that are solved, skipped or given up."""
    running: tuple[str, ...] = ()
    """Subtasks that an expert is working on, or that wait in its queue."""
    failed: tuple[str, ...] = ()
    """Subtasks that were given up."""
    usage: Usage = Usage()
    """Usage of finished calls so far."""

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


def info(
    status: JobStatus, request: Mapping[str, Any], *, tenant: str, accepted_at: int, cost: int, presumed: int
) -> JobInfo:
    """Return a job as an entry of `jobs`. Before its plan is logged, it has as many subtasks as the request gave."""
    text, plan = " ".join(request.get("text", "").split()), request.get("plan")
    given = len(plan["subtasks"]) if plan else int("expert" in request)
    return JobInfo(
        id=status.job,
        tenant=tenant,
        text=text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 1] + "…",
        accepted_at=accepted_at,
        state=status.state,
        settled=status.settled,
        subtasks=status.subtasks or given,
        cost=cost,
        presumed=presumed,
        plan_only=request.get("plan_only", False),
    )
