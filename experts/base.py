"""The one seam of this package: what an expert is, and how long it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from swarm.settings import Settings
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Solution

LoadBlob = Callable[[Blob], Awaitable[bytes]]
"""Gives the content of a file that belongs to an expert, from wherever this process keeps them."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a model may write in one attempt where nobody else says, and what came of the attempt before."""

    answer_tokens: int = 0
    schema_tokens: int = 0
    attempt: int = 1
    after: str = ""
    """Why the attempt before failed; empty for the first."""

    @classmethod
    def of(cls, settings: Settings, attempt: int, after: str) -> Allowance:
        return cls(settings.cap("answer"), settings.cap("schema"), attempt, after)


FREE = Allowance()
_end: ContextVar[float | None] = ContextVar("end", default=None)
_allowance: ContextVar[Allowance] = ContextVar("allowance", default=FREE)


@contextmanager
def until(end: float | None, allowance: Allowance = FREE) -> Iterator[None]:
    """For what runs in the block, the time of the event loop at which its attempt ends, and what it may write."""
    tokens = _end.set(end), _allowance.set(allowance)
    try:
        yield
    finally:
        _end.reset(tokens[0])
        _allowance.reset(tokens[1])


def allowance() -> Allowance:
    """What the attempt under way may write."""
    return _allowance.get()


def time_left(seconds: float) -> float:
    """`seconds`, or what is left of the attempt under way if that is less."""
    end = _end.get()
    return seconds if end is None else max(0.001, min(seconds, end - asyncio.get_running_loop().time()))


@runtime_checkable
class Expert(Protocol):
    """Answers one kind of subtask. It may be asked several at once, and the same one twice.

    Its `solve` may take a `swarm.Context` as third argument, `context`.
    An expert may also have `async def aclose(self) -> None`, awaited once when the expert is no longer needed.
    """

    card: Card

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        """Answer `subtask`; `inputs` are the solutions its instruction names, by subtask id.

        In plain Python experts the instruction has their values in place already; other kinds put them in themselves.

        Raise `swarm.errors.ExpertError` for what is known to go wrong; let `CancelledError` pass.
        """
        ...
