"""What an expert in plain Python may know of its attempt, and how it asks the swarm for more."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm.errors import AskRefused
from swarm.types.answer import Answer
from swarm.types.plan import Plan


class Asks(Protocol):
    """Has a job done for an attempt, and waits for its answer."""

    async def __call__(
        self, text: str, expert: str | None, plan: Plan | Mapping[str, Any] | list[Any] | None, seconds: float
    ) -> Answer: ...


async def nobody(
    text: str, expert: str | None, plan: Plan | Mapping[str, Any] | list[Any] | None, seconds: float
) -> Answer:
    """Asks nobody: for an expert that runs outside of a swarm."""
    raise AskRefused("this expert runs outside of a swarm, so there is nobody to ask")


@dataclass(frozen=True)
class Context:
    """One attempt at a subtask: the third argument of `solve`, for an expert whose `solve` takes three."""

    job: str
    subtask: str
    attempt: int
    tenant: str
    ends: float = field(repr=False)
    """When the attempt or its job is over, as `time.monotonic()` counts."""
    asks: Asks = field(default=nobody, repr=False, compare=False)

    @property
    def deadline(self) -> float:
        """Seconds until the attempt or its job is over, whichever is first."""
        return max(0.0, self.ends - time.monotonic())

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this subtask, on whichever worker."""
        return f"{self.job}/{self.subtask}"

    async def ask(
        self,
        text: str,
        *,
        expert: str | None = None,
        plan: Plan | Mapping[str, Any] | list[Any] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Have the swarm answer a request as a part of this job, and wait for it without holding a slot.

        It is a job of its own, of the same tenant; its model calls are paid from the budget of this job, and it ends
        within `timeout` seconds and before this attempt does: look at the `ending` of the answer. It is cancelled when
        this attempt is given up. A later attempt that asks the same gets the same answer, unless that one came to
        nothing. Raises AskRefused, BadInput, and TimeoutError where not even an ending came in time.
        """
        left = self.deadline
        seconds = left - min(1.0, left / 10)  # so that there is time to make something of the answer
        return await self.asks(text, expert, plan, seconds if timeout is None else min(timeout, seconds))
