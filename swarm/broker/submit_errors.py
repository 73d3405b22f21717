"""Why the script `submit` does not accept a job, as errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swarm.errors import (
    AskRefused,
    Busy,
    EmptyCatalog,
    JobConflict,
    OverBudget,
    SwarmError,
    TenantFull,
    UnknownExpert,
)
from swarm.types.request import Request


def refusal(
    verdict: str, facts: Sequence[Any], job: str, request: Request, parent: str, retry_after: float
) -> SwarmError:
    """The error for a verdict of the script and its facts. `parent`: the job whose expert asks, or empty."""
    match verdict:
        case "conflict":
            return JobConflict(job)
        case "empty":
            return EmptyCatalog()
        case "unknown":
            return UnknownExpert(facts[0], facts[1:])
        case "busy":
            after = int(facts[3]) / 1000 if facts[3] else retry_after
            return Busy(facts[0], int(facts[1]), int(facts[2]), retry_after=after)
        case "held":
            full = TenantFull(request.tenant, int(facts[0]), int(facts[1]))
            return AskRefused(str(full)) if parent else full
        case "over":
            left, limit = (int(amount) / 1_000_000 for amount in facts[1:])
            return OverBudget(facts[0], request.budget or 0.0, left, limit)
        case "orphan":
            return AskRefused(f"job {parent} is over or is to be cancelled; nothing more is asked for it")
        case "deep":
            return AskRefused(
                f"jobs that experts ask for are {facts[0]} deep already, one inside the other; let this expert "
                "answer by itself, or raise SWARM_ASK_DEPTH of the workers"
            )
        case "many":
            return AskRefused(f"the experts of job {parent} have asked for {facts[0]} jobs, the most there may be")
    raise ValueError(f"submit.lua refuses with {verdict!r}, which is not known here")
