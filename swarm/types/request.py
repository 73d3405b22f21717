"""What a caller asks for, and what a worker receives for one subtask of it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from swarm.types.base import Input, Name, Tenant, Text, Value
from swarm.types.plan import Plan, Subtask


class Request(Input):
    """What a caller wants: a text, and if the caller knows better than the planner, an expert or a whole plan."""

    text: Text
    expert: Name | None = None
    plan: Plan | None = None
    tenant: Tenant = "default"
    deadline: float | None = Field(default=None, gt=0, le=86_400 * 7)
    """Seconds from acceptance; then the answer is made of what is there."""
    max_age: float | None = Field(default=None, gt=0, le=86_400 * 7)
    """Seconds after which the job ends in any case; None: as the settings say."""
    attempts: int = Field(default=3, ge=1, le=20)
    """How often one expert is tried for one subtask."""
    replans: int | None = Field(default=None, ge=0, le=5)
    """How often a planner may plan again after failures; None: as the settings say."""
    plan_only: bool = False
    """The job ends once it is planned; its answer's data is the plan."""
    budget: float | None = Field(default=None, ge=0, le=1_000_000)
    """US dollars that its model calls may cost, all together; None: no limit of its own."""
    priority: int = Field(default=0, ge=0, le=9)
    """Places it may overtake among what waits for the same expert: each step is worth 100 subtasks of its tenant."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.expert is not None and self.plan is not None:
            raise ValueError("expert and plan exclude each other; give one of them")
        return self


class Envelope(Value):
    """One attempt at one subtask on its way to a worker. Results of others are named by body key, not copied."""

    job: str
    subtask: Subtask
    attempt: int
    expert: Name
    catalog: str
    """The version whose card of `expert` is to be used."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Subtask id -> key of its body; empty for one that was skipped."""
    groups: dict[str, dict[str, str]] = Field(default_factory=dict)
    """The same for a subtask that ran once for each item of a list: its id -> id and key of every item's result."""
    after: str = ""
    """Why the attempt before failed, as the reason of its Failure; empty for the first."""
    item: int = 0
    """Which item of the list that `subtask.for_each` names this is about, counted from 1; 0: it has no such list."""
