"""The time of one attempt, and what an expert is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from experts.base import time_left
from experts.registry import takes_context
from swarm.errors import ModelUnavailable
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution
from tests.unit.experts.settling import ASKED, settled

# -- the time of one attempt -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("card", "subtask", "holds"), [(0.02, 60.0, 0.02), (60.0, 0.02, 0.02), (0.02, None, 0.02)])
async def test_the_smaller_of_two_timeouts_holds(card: float, subtask: float | None, holds: float) -> None:
    async def waits(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(30)
        raise AssertionError

    outcome = await settled(waits, ASKED.model_copy(update={"timeout": subtask}), timeout=card)

    whose = "its card" if card == holds else "its subtask"
    told = f"no answer within {holds:g} s; raise `timeout` of {whose}"
    assert outcome == Failure(reason="timeout", message=told, retryable=True)


async def test_a_model_call_gets_what_is_left_of_the_attempt() -> None:
    given: list[float] = []

    async def asks_twice(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        given.append(time_left(60.0))
        await asyncio.sleep(0.1)
        given.append(time_left(60.0))
        given.append(time_left(0.01))
        return Solution(text="done")

    await settled(asks_twice, ASKED.model_copy(update={"timeout": 5.0}))

    assert 0 < given[1] <= given[0] - 0.09 < 5.0
    assert given[2] == 0.01
    assert time_left(60.0) == 60.0, "outside of an attempt"


async def test_a_model_that_has_no_time_left_is_late_and_not_unavailable() -> None:
    async def gives_up(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(max(0.0, time_left(60.0) - 0.005))
        raise ModelUnavailable("no answer within what was left")

    outcome = await settled(gives_up, timeout=0.1)

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.message) == ("timeout", "no answer within 0.1 s; raise `timeout` of its card")


class Two:
    def solve(self, subtask: object, inputs: object) -> None: ...


class Three:
    def solve(self, subtask: object, inputs: object, more: object) -> None: ...


class Named:
    def solve(self, subtask: object, inputs: object, context: object = None) -> None: ...


class Other:
    def solve(self, subtask: object, inputs: object, client: object = None) -> None: ...


class Wrapped:
    def solve(self, *args: object, **named: object) -> None: ...


@pytest.mark.parametrize(
    ("kind", "takes"), [(Two, False), (Three, True), (Named, True), (Other, False), (Wrapped, False)]
)
def test_a_context_is_given_to_who_takes_one(kind: type[Any], takes: bool) -> None:
    assert takes_context(kind().solve) == takes
