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
    from swarm.client import Job, SwarmClient
    from swarm.context import Context
    from swarm.errors import GiveUp, Retryable, SwarmError
    from swarm.models import Answer, Card, Citation, Failure, Receipt, Request, Solution
    from swarm.plans import Plan, Subtask
    from swarm.report import PlanReport
    from swarm.settings import Settings

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
    "Context": "context",
    "Delta": "broker.deltas",
    "GiveUp": "errors",
    "Job": "client",
    "Plan": "plans",
    "PlanReport": "report",
    "Retryable": "errors",
    "Settings": "settings",
    "Subtask": "plans",
    "SwarmClient": "client",
    "SwarmError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'swarm' has no attribute {name!r}")
    return getattr(import_module(f"swarm.{_HOMES.get(name, 'models')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
