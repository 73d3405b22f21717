"""Report on a plan before it runs: its experts and why, its expected time and cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from swarm.engine.estimate import Estimate, ExpertStats, estimate
from swarm.types.base import Value
from swarm.types.events import Planned
from swarm.types.plan import Plan
from swarm.types.result import Mend, Usage


class PlanReport(Value):
    """The plan of a request that was planned and not run.

    `plan` can be changed (`report.plan.model_dump(mode="json")`), kept as JSON or YAML, and submitted:
    `submit(text, plan=...)`.
    """

    job: str
    plan: Plan
    planner: str
    notes: tuple[str, ...] = ()
    """Planning methods that were tried, with their scores."""
    why: dict[str, str] = {}
    """Subtask id -> why this expert was chosen."""
    mends: tuple[Mend, ...] = ()
    """Errors in the planner's text that were corrected."""
    usage: Usage = Usage()
    """Usage of the planning itself."""
    estimate: Estimate
    seconds: float
    """Time from the acceptance of the request to its plan."""


def report(
    job: str, plan: Plan, planned: Planned, usage: Usage, seconds: float, stats: Mapping[str, ExpertStats]
) -> PlanReport:
    """Build the report of `plan`; `planned` is the event that closed its round."""
    return PlanReport(
        job=job,
        plan=plan,
        planner=planned.planner,
        notes=planned.notes,
        why={without_round(name): reason for name, reason in planned.why.items()},
        mends=planned.mends,
        usage=usage,
        estimate=estimate(plan, stats),
        seconds=seconds,
    )


def without_round(name: str) -> str:
    """Return a subtask's id without the prefix of its planning round.

    >>> without_round("r2.t1"), without_round("t1")
    ('t1', 't1')
    """
    number, dot, rest = name.partition(".")
    return rest if dot and number[:1] == "r" and number[1:].isdigit() else name
