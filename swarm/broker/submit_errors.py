"""Errors for the refusals of the `submit` script."""

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
    """Return the error for a verdict of the script and its details. `parent`: id of the parent job, or empty."""
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
            return AskRefused(f"job {parent} has ended or is to be cancelled, so it accepts no more child jobs")
        case "deep":
            return AskRefused(
                f"child jobs are nested {facts[0]} deep already, the most allowed; let this expert answer without "
                "asking the swarm, or raise SWARM_ASK_DEPTH of the workers"
            )
        case "many":
            return AskRefused(f"the experts of job {parent} have submitted {facts[0]} child jobs, the most allowed")
    raise ValueError(f"submit.lua refuses with {verdict!r}, which is not known here")
