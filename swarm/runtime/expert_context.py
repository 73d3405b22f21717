"""The context of an attempt for experts in plain Python: its identity, its deadline, and `ask`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm.errors import AskRefused
from swarm.types.answer import Answer
from swarm.types.plan import Plan


class Asks(Protocol):
    """Submits a job on behalf of an attempt, and waits for its answer."""

    async def __call__(
        self, text: str, expert: str | None, plan: Plan | Mapping[str, Any] | list[Any] | None, seconds: float
    ) -> Answer: ...


async def nobody(
    text: str, expert: str | None, plan: Plan | Mapping[str, Any] | list[Any] | None, seconds: float
) -> Answer:
    """Refuse to ask: for an expert that runs outside of a swarm."""
    raise AskRefused("this expert runs outside of a swarm, so there is nobody to ask")


@dataclass(frozen=True)
class Context:
    """One attempt at a subtask, passed as the optional third argument of `solve`."""

    job: str
    subtask: str
    attempt: int
    tenant: str
    ends: float = field(repr=False)
    """End of the attempt or its job, whichever is first, as `time.monotonic()` counts."""
    asks: Asks = field(default=nobody, repr=False, compare=False)

    @property
    def deadline(self) -> float:
        """Seconds until the attempt or its job ends, whichever is first."""
        return max(0.0, self.ends - time.monotonic())

    @property
    def idempotency_key(self) -> str:
        """A key that is equal for all attempts at this subtask, on every worker."""
        return f"{self.job}/{self.subtask}"

    async def ask(
        self,
        text: str,
        *,
        expert: str | None = None,
        plan: Plan | Mapping[str, Any] | list[Any] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Submit a request as a child job of this job, and wait for its answer without holding a slot.

        The child has the same tenant and draws on this job's budget. It ends within `timeout` seconds and before this
        attempt does, so check the `ending` of the answer. It is cancelled when this attempt is given up. A later
        attempt that asks the same gets the same answer, unless the child failed. Raises AskRefused, BadInput, or
        TimeoutError if no ending came in time.
        """
        left = self.deadline
        seconds = left - min(1.0, left / 10)  # leaves time to process the answer
        return await self.asks(text, expert, plan, seconds if timeout is None else min(timeout, seconds))
