"""The one seam of this package: what an expert is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, runtime_checkable

from swarm.models import Blob, Card, Solution
from swarm.plans import Subtask

LoadBlob = Callable[[Blob], Awaitable[bytes]]
"""Gives the content of a file that belongs to an expert, from wherever this process keeps them."""


@runtime_checkable
class Expert(Protocol):
    """Answers one kind of subtask. It may be asked several at once, and the same one twice.

    An expert may also have `async def aclose(self) -> None`, awaited once when the expert is no longer needed.
    """

    card: Card

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        """Answer `subtask`; `inputs` are the solutions its instruction names, by subtask id.

        In plain Python experts the instruction has their values in place already; other kinds put them in themselves.

        Raise `swarm.errors.ExpertError` for what is known to go wrong; let `CancelledError` pass.
        """
        ...
