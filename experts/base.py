"""The Expert protocol, and the time and token limits of the running attempt."""

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
"""Loads the content of an expert's file from this process's storage."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Default token limits of one attempt, its number, and the reason why the previous attempt failed."""

    answer_tokens: int = 0
    schema_tokens: int = 0
    attempt: int = 1
    after: str = ""
    """Reason of the previous attempt's failure; empty for the first attempt."""

    @classmethod
    def of(cls, settings: Settings, attempt: int, after: str) -> Allowance:
        return cls(settings.cap("answer"), settings.cap("schema"), attempt, after)


FREE = Allowance()
_end: ContextVar[float | None] = ContextVar("end", default=None)
_allowance: ContextVar[Allowance] = ContextVar("allowance", default=FREE)


@contextmanager
def until(end: float | None, allowance: Allowance = FREE) -> Iterator[None]:
    """Within the block, set the end of the attempt (in event-loop time) and its token limits."""
    tokens = _end.set(end), _allowance.set(allowance)
    try:
        yield
    finally:
        _end.reset(tokens[0])
        _allowance.reset(tokens[1])


def allowance() -> Allowance:
    """The limits of the running attempt."""
    return _allowance.get()


def time_left(seconds: float) -> float:
    """The smaller of `seconds` and the time left of the running attempt."""
    end = _end.get()
    return seconds if end is None else max(0.001, min(seconds, end - asyncio.get_running_loop().time()))


@runtime_checkable
class Expert(Protocol):
    """Answers one kind of subtask. `solve` may be called concurrently, and twice for the same subtask.

    Its `solve` may take a `swarm.Context` as third argument, `context`.
    An expert may also have `async def aclose(self) -> None`, awaited once when the expert is no longer needed.
    """

    card: Card

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        """Answer `subtask`; `inputs` are the solutions its instruction names, by subtask id.

        An expert in plain Python gets the instruction with the references replaced; other kinds replace them
        themselves.

        Raise `swarm.errors.ExpertError` for expected failures; let `CancelledError` pass.
        """
        ...
