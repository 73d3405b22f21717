"""The one seam of this package: what an expert is, and how long it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

from swarm.models import Blob, Card, Solution
from swarm.plans import Subtask

LoadBlob = Callable[[Blob], Awaitable[bytes]]
"""Gives the content of a file that belongs to an expert, from wherever this process keeps them."""

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def until(end: float | None) -> Iterator[None]:
    """For what runs in the block, the time of the event loop at which its attempt ends."""
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def time_left(seconds: float) -> float:
    """`seconds`, or what is left of the attempt under way if that is less."""
    end = _end.get()
    return seconds if end is None else max(0.001, min(seconds, end - asyncio.get_running_loop().time()))


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
