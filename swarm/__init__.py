"""An asynchronous agent-swarm router: a planner decides, small experts answer, one answer comes back.

Begin with the client:

    async with SwarmClient("redis://localhost") as swarm:
        answer = await swarm.ask("Summarise this complaint, then write a reply to the customer: ...")

The names below are imported when they are first used: `import swarm` alone loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.broker.deltas import Delta
    from swarm.client.client import Job, SwarmClient
    from swarm.engine.plan_report import PlanReport
    from swarm.errors import GiveUp, Retryable, SwarmError
    from swarm.runtime.expert_context import Context
    from swarm.settings import Settings
    from swarm.types.answer import Answer, Receipt
    from swarm.types.card import Card
    from swarm.types.plan import Plan, Subtask
    from swarm.types.request import Request
    from swarm.types.result import Citation, Failure, Solution

__all__ = [
    "Answer",
    "Card",
    "Citation",
    "Context",
    "Delta",
    "Failure",
    "GiveUp",
    "Job",
    "Plan",
    "PlanReport",
    "Receipt",
    "Request",
    "Retryable",
    "Settings",
    "Solution",
    "Subtask",
    "SwarmClient",
    "SwarmError",
]
__version__ = "0.1.0"

_HOMES = {
    "Answer": "swarm.types.answer",
    "Card": "swarm.types.card",
    "Citation": "swarm.types.result",
    "Context": "swarm.runtime.expert_context",
    "Delta": "swarm.broker.deltas",
    "Failure": "swarm.types.result",
    "GiveUp": "swarm.errors",
    "Job": "swarm.client.client",
    "Plan": "swarm.types.plan",
    "PlanReport": "swarm.engine.plan_report",
    "Receipt": "swarm.types.answer",
    "Request": "swarm.types.request",
    "Retryable": "swarm.errors",
    "Settings": "swarm.settings",
    "Solution": "swarm.types.result",
    "Subtask": "swarm.types.plan",
    "SwarmClient": "swarm.client.client",
    "SwarmError": "swarm.errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'swarm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
