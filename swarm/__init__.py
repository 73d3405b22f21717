"""An asynchronous agent-swarm router: a planner decides, small experts answer, one answer comes back.

Begin with the client:

    async with SwarmClient("redis://localhost") as swarm:
        answer = await swarm.ask("Summarise this complaint, then write a reply to the customer: ...")
"""

from swarm.client import Job, SwarmClient
from swarm.errors import SwarmError
from swarm.models import Answer, Card, Citation, Failure, Plan, Receipt, Request, Solution, Subtask
from swarm.settings import Settings

__all__ = [
    "Answer",
    "Card",
    "Citation",
    "Failure",
    "Job",
    "Plan",
    "Receipt",
    "Request",
    "Settings",
    "Solution",
    "Subtask",
    "SwarmClient",
    "SwarmError",
]
__version__ = "0.1.0"
