"""The proof of the proof: a run that is sound is found sound, and each of twelve faults planted in it is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from swarm.types.events import Answered
from tests.chaos.audit import audit
from tests.chaos.evidence import Evidence
from tests.chaos.mutations import BELOW, MUTATIONS, put_off
from tests.chaos.run import Chosen, record

pytestmark = [pytest.mark.timeout(150), pytest.mark.xdist_group("chaos")]


@pytest.fixture(scope="module")
def evidence(redis_binary: Path) -> Evidence:
    """What a small run leaves behind, recorded once; only the models have bad days in it."""
    found, _, _ = asyncio.run(record(Chosen(jobs=50, seed=29, faults=("llm",))))
    return found


async def test_a_run_without_a_fault_is_sound(evidence: Evidence) -> None:
    assert [(each.kind, str(each)) for each in (await audit(evidence)).all] == []


@pytest.mark.parametrize("kind", MUTATIONS)
async def test_a_planted_fault_is_found(evidence: Evidence, kind: str) -> None:
    assert kind in (await audit(MUTATIONS[kind](evidence))).kinds


@pytest.mark.parametrize("name", BELOW)
async def test_a_fault_of_jobs_that_experts_ask_for_is_found(evidence: Evidence, name: str) -> None:
    mutation, kind = BELOW[name]
    assert kind in (await audit(mutation(evidence))).kinds


async def test_an_ending_that_comes_long_after_its_answer_was_written_is_found(evidence: Evidence) -> None:
    job = next(job for job in evidence.jobs if any(isinstance(event, Answered) for event in job.events))
    assert "late" in (await audit(put_off(evidence, job))).kinds


def test_there_are_twelve_ways_to_be_wrong() -> None:
    assert len(MUTATIONS) == 12
