"""Request of a caller, and the envelope that a worker receives for one subtask."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from swarm.types.base import Input, Name, Tenant, Text, Value
from swarm.types.plan import Plan, Subtask


class Request(Input):
    """Request of a caller: a text, and optionally the expert or the whole plan to use instead of planning."""

    text: Text
    expert: Name | None = None
    plan: Plan | None = None
    tenant: Tenant = "default"
    deadline: float | None = Field(default=None, gt=0, le=86_400 * 7)
    """Seconds from acceptance after which the answer is made from the results so far."""
    max_age: float | None = Field(default=None, gt=0, le=86_400 * 7)
    """Seconds after which the job ends in any case; None: the default of the settings."""
    attempts: int = Field(default=3, ge=1, le=20)
    """Attempts of one expert at one subtask, at most."""
    replans: int | None = Field(default=None, ge=0, le=5)
    """Times that a planner may plan again after failures; None: the default of the settings."""
    plan_only: bool = False
    """The job ends once it is planned; its answer's data is the plan."""
    budget: float | None = Field(default=None, ge=0, le=1_000_000)
    """US dollars that its model calls may cost in total; None: no limit of its own."""
    priority: int = Field(default=0, ge=0, le=9)
    """Head start in the queue of an expert: each step is worth 100 subtasks of its tenant."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.expert is not None and self.plan is not None:
            raise ValueError("expert and plan exclude each other; give one of them")
        return self


class Envelope(Value):
    """One attempt at one subtask, sent to a worker. Results of others are referenced by body key, not copied."""

    job: str
    subtask: Subtask
    attempt: int
    expert: Name
    catalog: str
    """Catalog version of the card of `expert`."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Subtask id -> key of its body; empty for a skipped one."""
    groups: dict[str, dict[str, str]] = Field(default_factory=dict)
    """The same for `for_each` subtasks: id -> item id -> key of the item's body."""
    after: str = ""
    """Failure reason of the attempt before; empty for the first."""
    item: int = 0
    """Number of the item of `subtask.for_each`, from 1; 0: the subtask has no `for_each`."""
    runner_up: bool = False
    """Whether the plan names a runner-up: a result that finds nothing then leaves the subtask open."""
