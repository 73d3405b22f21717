"""Experts that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from experts.registry import Registry
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Outcome, Solution

Solve = Callable[[Subtask, Mapping[str, Solution]], Awaitable[Any]]
ASKED = Subtask(id="t1", expert="test", instruction="go")


def a_card(**changes: Any) -> Card:
    fields = {"name": "test", "kind": "instruction", "description": "d", "model": "local/python", "version": "1"}
    return Card.model_validate(fields | {"implementation": "test:Test"} | changes)


class Scripted:
    """An expert whose solve is a plain function; it counts how often it was built and closed."""

    built = 0

    def __init__(self, solve: Solve, closed: list[str] | None = None, name: str = "") -> None:
        self.card = a_card()
        self._solve, self._closed, self._name = solve, closed, name

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        found: Solution = await self._solve(subtask, inputs)
        return found

    async def aclose(self) -> None:
        if self._closed is not None:
            self._closed.append(self._name)


async def no_blob(blob: Blob) -> bytes:
    raise AssertionError("no blob is needed here")


async def settled(solve: Solve, subtask: Subtask = ASKED, **changes: Any) -> Outcome:
    async with Registry(no_blob, implementations={"test:Test": lambda: Scripted(solve)}) as registry:
        return await registry.settle(a_card(**changes), subtask, {})


def answering(solution: object) -> Solve:
    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> object:
        return solution

    return solve


async def waits(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
    await asyncio.sleep(60)
    return Solution(text="late")
