"""The pure parts of the chaos run: what is drawn from a seed, and how a claim's loss is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, takewhile

import pytest

from swarm.client import make_request
from swarm.events import AnyEvent, OutcomeRecorded, Started
from swarm.models import Answer, Failure, Usage
from tests.chaos.audit import Causes, Findings, bill, look_at_outcomes, look_at_runs, planned_as, same
from tests.chaos.faults import Struck
from tests.chaos.fleet import Life
from tests.chaos.load import SHAPES, TAG, load
from tests.chaos.logs import Said
from tests.chaos.schedule import KINDS, schedule

JOB = "s1-00001"


def test_a_seed_gives_the_same_load_and_another_a_different_one() -> None:
    assert list(load(5, 50)) == list(load(5, 50))
    assert [work.shape for work in load(5, 50)] != [work.shape for work in load(6, 50)]


def test_every_job_of_a_load_is_a_request_that_can_run() -> None:
    works = list(load(1, 300))
    requests = [make_request(text=work.text, **work.options) for work in works]

    assert {work.shape for work in works} == set(SHAPES)
    assert any(work.cancel_after is not None for work in works)
    for work, request in zip(works, requests, strict=True):
        told = {
            found[1] for s in (request.plan.subtasks if request.plan else ()) for found in TAG.finditer(s.instruction)
        }
        assert told <= {work.id}


def test_a_seed_gives_the_same_faults_in_the_order_of_time() -> None:
    first = list(islice(schedule(5, KINDS), 100))

    assert first == list(islice(schedule(5, KINDS), 100)) != list(islice(schedule(6, KINDS), 100))
    assert [fault.at for fault in first] == sorted(fault.at for fault in first)


def test_only_the_faults_that_are_asked_for_strike() -> None:
    assert Counter(fault.kind for fault in takewhile(lambda f: f.at < 60, schedule(1, ("kill",)))).keys() == {"kill"}
    assert list(schedule(1, ("llm",))) == []


@pytest.mark.parametrize(("subtask", "name"), [("t1", "t1"), ("r2.t1", "t1"), ("t1#3", "t1"), ("r1.t1#3", "t1")])
def test_a_subtask_is_known_by_the_name_that_its_plan_gives_it(subtask: str, name: str) -> None:
    assert planned_as(subtask) == name


# -- why a claim was lost ----------------------------------------------------------------------------------------

LIFE = Life(place="rag0", pid=17, begun=50.0)


def started(at: float, claim: int, worker: str = "host-17-abc") -> Started:
    return Started(id=f"{claim}-{at * 1000:.0f}", subtask="t1", attempt=1, claim=claim, worker=worker)


def causes(life: Life = LIFE, *struck: Struck, verdict: str = "") -> Causes:
    verdicts = {(f"{JOB}:t1:1", 1): verdict} if verdict else {}
    return Causes([life], struck, Said(verdicts=verdicts))


REDIS = Struck("redis", "redis", 101.0, 102.0)
KILLED = replace(LIFE, how="kill", asked=100.5)


@pytest.mark.parametrize(
    ("given", "why", "seconds", "alone"),
    [
        (causes(KILLED), "kill", 1.5, True),
        (causes(KILLED, REDIS), "kill", 1.5, False),
        (causes(replace(KILLED, how="term")), "term", 1.5, True),
        (causes(replace(KILLED, asked=99.0)), "unexplained", 0.0, True),
        (causes(LIFE, REDIS), "redis", 0.0, True),
        (causes(LIFE, Struck("net", "hold", 98.0, 99.0)), "net", 0.0, True),
        (causes(LIFE, Struck("net", "cut", 10.0, 10.0)), "unexplained", 0.0, True),
        (causes(LIFE, REDIS, verdict="parked"), "waited for budget", 0.0, True),
        (causes(), "unexplained", 0.0, True),
    ],
)
def test_a_rerun_has_a_cause(given: Causes, why: str, seconds: float, alone: bool) -> None:
    found = Findings()
    events: list[AnyEvent] = [started(100.0, 1), started(102.0, 2, "host-18-def")]
    look_at_runs(found, JOB, events, given)

    (rerun,) = found.reruns
    assert (rerun.why, rerun.seconds, rerun.alone) == (why, seconds, alone)
    assert found.starts == {f"{JOB}/t1": 2}


# -- what else the checker must see --------------------------------------------------------------------------------

ANSWER = Answer(job=JOB, ending="deadline", complete=False, text="a part", usage=Usage(calls=2, cost=242, presumed=900))


@pytest.mark.parametrize(
    ("later", "one", "less"),
    [
        (ANSWER, True, True),
        (ANSWER.model_copy(update={"usage": Usage(calls=2, cost=500, presumed=300)}), True, True),
        (ANSWER.model_copy(update={"usage": Usage(calls=2, cost=1_100, presumed=900)}), True, False),
        (ANSWER.model_copy(update={"usage": Usage(calls=3, cost=242, presumed=900)}), False, True),
        (ANSWER.model_copy(update={"text": "another"}), False, True),
    ],
)
def test_an_answer_stays_the_same_but_for_what_is_settled_lower(later: Answer, one: bool, less: bool) -> None:
    assert same(ANSWER, later) is one
    assert (bill(later) <= bill(ANSWER)) is less


def test_an_attempt_with_two_outcomes_and_a_bug_are_wrong() -> None:
    outcome = OutcomeRecorded(id="4-1", subtask="t1", attempt=1, body="t1.1.1")
    bug = OutcomeRecorded(id="6-1", subtask="t2", attempt=1, failure=Failure(reason="bug", message="KeyError: 'x'"))
    found = Findings()
    look_at_outcomes(found, JOB, [started(1.0, 1), outcome, outcome.model_copy(update={"id": "5-1"}), bug])

    assert found.wrong == [f"{JOB}: 2 outcomes of t1:1", f"{JOB}: t2:1 failed by a bug: KeyError: 'x'"]
    assert found.failures == {"bug": 1}


def test_an_outcome_of_a_claim_that_was_lost_is_wrong() -> None:
    found = Findings()
    outcome = OutcomeRecorded(id="4-1", subtask="t1", attempt=1, body="t1.1.1")
    look_at_outcomes(found, JOB, [started(1.0, 1), started(2.0, 2), outcome])

    assert found.wrong == [f"{JOB}: t1.1.1 was written by claim 1, 2 held it"]
