"""What is told of a plan before it runs: who does what and why, how long it takes and what it costs. Pure."""

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
    """Which ways to a plan were tried, with their scores."""
    why: dict[str, str] = {}
    """Subtask id -> why this expert."""
    mends: tuple[Mend, ...] = ()
    """What was wrong in the planner's text and was put right."""
    usage: Usage = Usage()
    """What the planning itself used."""
    estimate: Estimate
    seconds: float
    """From the acceptance of the request to its plan."""


def report(
    job: str, plan: Plan, planned: Planned, usage: Usage, seconds: float, stats: Mapping[str, ExpertStats]
) -> PlanReport:
    """Put together what is known of `plan`; `planned` is the event that closed its round."""
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
    """A subtask's id without the round it was planned in.

    >>> without_round("r2.t1"), without_round("t1")
    ('t1', 't1')
    """
    number, dot, rest = name.partition(".")
    return rest if dot and number[:1] == "r" and number[1:].isdigit() else name
