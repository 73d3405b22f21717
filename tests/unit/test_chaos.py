"""The pure parts of the chaos run: what is drawn from a seed, and how a claim's loss is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

import pytest

from experts.limited_completion import FEWEST
from swarm.client.client import make_request
from swarm.types.answer import Answer
from swarm.types.events import AnyEvent, Ended, OutcomeRecorded, Planned, RoundOpened, Started
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Usage
from tests.chaos.audit import KINDS as KINDS_FOUND
from tests.chaos.audit import bill, log_problems, planned_as, same
from tests.chaos.causes import Attempt, Causes
from tests.chaos.clock import Reading, spans
from tests.chaos.faults import Struck
from tests.chaos.fleet import Life
from tests.chaos.load import SHAPES, load, work
from tests.chaos.logs import Said
from tests.chaos.report import PROOF, markdown
from tests.chaos.runs import open_round, plan_in
from tests.chaos.schedule import KINDS, schedule
from tests.chaos.script import TAG, says
from tests.chaos.stalls import Stall
from tests.chaos.timing import PROMISE, SLACK, TURN, Timeline

JOB = "s1-00001"


def test_a_seed_gives_the_same_load_and_another_a_different_one() -> None:
    assert list(load(5, 50)) == list(load(5, 50))
    assert [one.shape for one in load(5, 50)] != [one.shape for one in load(6, 50)]


def test_every_job_of_a_load_is_a_request_that_can_run() -> None:
    works = list(load(1, 300))
    requests = [make_request(text=one.text, **one.options) for one in works]

    assert {one.shape for one in works} == set(SHAPES)
    assert any(one.cancel_after is not None for one in works)
    for one, request in zip(works, requests, strict=True):
        told = {
            found[1] for s in (request.plan.subtasks if request.plan else ()) for found in TAG.finditer(s.instruction)
        }
        assert told <= {one.id}


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
    return Causes([life], Timeline(struck), Said(verdicts=verdicts))


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
    (rerun,) = given.reruns(JOB, [started(100.0, 1), started(102.0, 2, "host-18-def")])
    assert (rerun.why, rerun.seconds, rerun.alone) == (why, seconds, alone)


def test_a_recovery_may_take_longer_by_what_was_broken_meanwhile() -> None:
    quiet = Timeline()
    stalled = Timeline([Struck("stall", "redis", 101.0, 102.0), Struck("stall", "redis", 101.5, 103.0)])
    killed_again = Timeline([Struck("kill", "rag1", 101.0, 101.0), Struck("kill", "router0", 101.0, 101.0)])
    starved = Timeline(stalls=[Stall(100.0, 102.0, 0.5)])

    assert quiet.allowed(PROMISE, 100.0, 110.0, "rag") == PROMISE
    assert stalled.allowed(PROMISE, 100.0, 110.0, "rag") == PROMISE + 2.25
    assert killed_again.allowed(PROMISE, 100.0, 110.0, "rag") == 2 * PROMISE
    assert starved.allowed(PROMISE, 100.0, 101.0, "rag") == PROMISE + SLACK * 0.25
    assert quiet.late(PROMISE, 100.0, 103.0) == "3.0 s, at most 2.5 s are allowed"


def test_a_rerun_that_repeated_stalls_put_off_for_ever_is_too_late() -> None:
    stalls = [Struck("stall", "redis", 100.0 + at, 100.9 + at) for at in range(0, 60, 2)]

    assert not Timeline(stalls).late(PROMISE + TURN, 100.0, 110.0, "rag")
    assert Timeline(stalls).late(PROMISE + TURN, 100.0, 122.0, "rag")


def test_the_date_of_an_event_is_told_in_the_time_of_the_machine_by_readings_of_the_clock() -> None:
    readings = [Reading(100.0, 0.0), Reading(111.9, 0.01), Reading(112.1, -4.0), Reading(129.0, -4.0)]
    timeline = Timeline(clock=spans([*readings, Reading(130.0, 0.0)]))

    assert timeline.real(105_000) == 105.0
    assert timeline.candidates(111_000) == [111.0, 115.0]
    assert timeline.real(111_000, after=113.0) == 115.0
    assert timeline.real(140_000) == 140.0
    assert Timeline().real(140_000) == 140.0


def test_a_clock_of_redis_that_the_swarm_does_not_follow_dates_no_event() -> None:
    timeline = Timeline([Struck("clock", "+3", 112.0, 115.0)], clock=spans([Reading(100.0, 0.0), Reading(120.0, 0.0)]))

    assert timeline.candidates(116_000) == [116.0]


CALL = {"job": JOB, "subtask": "t1", "model": "chat", "fault": "outage"}
FAILURE = Failure(reason="unavailable", message="chat: HTTP 503: out of order", retryable=True)


@pytest.mark.parametrize(
    ("written", "called", "explained"),
    [
        (102.0, 101.0, True),
        (117.0, 101.0, True),  # Redis was away when it was to be written
        (102.0, 99.0, False),  # a call of the attempt before
        (102.0, 103.0, False),
        (102.0, None, False),
    ],
)
def test_a_failed_attempt_is_explained_by_a_call_of_its_own(
    written: float, called: float | None, explained: bool
) -> None:
    calls = [] if called is None else [CALL | {"at": called}]
    outcome = OutcomeRecorded(id=f"4-{written * 1000:.0f}", subtask="t1", attempt=1, ms=1_500, failure=FAILURE)
    attempt = Attempt(work(1, 1), (JOB, "t1"), started(100.0, 1), outcome, FAILURE)

    assert Causes([LIFE], calls=calls).explains(attempt, "chat") is explained


def test_a_model_says_the_same_to_the_same_words_and_something_else_to_others() -> None:
    asked = "Do it. tag=s1-00001/t1"
    texts = [
        says("chat", "edition-1", [asked]),
        says("chat", "edition-2", [asked]),
        says("tuned", "edition-1", [asked]),
        says("chat", "edition-1", [asked.replace("Do", "See to")]),
        says("chat", "edition-1", [asked.replace("00001", "00002")]),
        says("chat", "edition-1", [f"{asked}\n\nproof=0123456789ab"]),
    ]

    assert len(set(texts)) == len(texts)
    assert says("chat", "edition-1", ["an example", asked, "that was no JSON, say it again"]) == texts[0]


def test_no_model_says_more_than_an_attempt_after_a_late_one_may() -> None:
    asked = "Go on from it. tag=s10-00001/t10.1.1.1.a"
    passage = (
        "<<0123456789abcdef [1] policies/handbook.md\n# A handbook\n" + "extraordinarily " * 5 + "late parcels go back"
    )
    for number in range(50):
        for user in (f"{asked}{number}", f"{asked}{number}\n\n{passage}"):
            assert len(says("tuned", "edition-12", [user])) <= 4 * FEWEST


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


def test_an_attempt_with_two_outcomes_is_wrong() -> None:
    outcome = OutcomeRecorded(id="4-1", subtask="t1", attempt=1, body="t1.1.1")
    problems = log_problems([started(1.0, 1), outcome, outcome.model_copy(update={"id": "5-1"})])

    assert [each.words for each in problems] == ["2 outcomes of t1:1"]


def test_an_outcome_of_a_claim_that_lost_its_lease_counts_and_one_of_a_claim_that_never_began_is_wrong() -> None:
    late = OutcomeRecorded(id="4-1", subtask="t1", attempt=1, body="t1.1.1")
    strange = late.model_copy(update={"body": "t1.1.3"})

    assert list(log_problems([started(1.0, 1), started(2.0, 2), late])) == []
    problems = log_problems([started(1.0, 1), started(2.0, 2), strange])
    assert [each.words for each in problems] == ["t1.1.3 was written by claim 3, which never began it"]


def test_a_job_that_ends_while_its_plan_is_written_ran_by_the_pieces_of_the_round_that_is_open() -> None:
    one, two, three = (Subtask(id=name, expert="echo", instruction="x") for name in ("r1.t1", "r2.t1", "r2.t2"))
    log: list[AnyEvent] = [
        RoundOpened(round=1),
        Planned(round=1, subtasks=(one,), closed=False),
        RoundOpened(round=2),
        Planned(round=2, subtasks=(two,), closed=False),
        Planned(round=2, subtasks=(three,), closed=False),
    ]
    whole = Planned(round=2, subtasks=(two, three), planner="chaos/planner")
    refused = Planned(round=2, failure=Failure(reason="refused", message="no plan"))

    assert (plan_in([*log, Ended(ending="cancelled"), whole]).subtasks, open_round(log)) == ((two, three), 2)
    assert (plan_in([*log, whole]), open_round([*log, whole])) == (whole, 0)
    assert (plan_in([*log, refused]).subtasks, open_round([*log, refused])) == ((), 0)


# -- the table of the README ----------------------------------------------------------------------------------------


def told(lost: int, median: float) -> dict[str, Any]:
    """Of what a seed prints, that which the table shows."""
    return {
        "jobs": 1_000, "accepted": 999, "subtasks": 6_000, "found": {"lost": ["x"] * lost, "late": ["y"]},
        "faults": {"kill": 40, "term": 9, "net cut": 30, "net reset": 5}, "calls": {"faults": {"hang": 7}},
        "endings": {"completed": 990, "over_budget": 9}, "reruns": {"kill": 12},
        "recovery": {"alone": {"count": 0}, "all": {"count": 3, "median": median, "max": 4.0}},
    }  # fmt: skip


def test_the_table_of_the_readme_adds_up_all_seeds() -> None:
    rows = dict(line.strip("| ").split(" | ") for line in markdown([told(2, 1.5), told(1, 0.5)]).splitlines()[1:])

    assert rows["faults"].startswith("80 kills and 18 SIGTERMs of processes, 0 kills of Redis")
    assert rows["faults"].endswith("70 faults on the wire, 14 of the model")
    assert rows["accepted and ended"] == "1,998: completed 1,980, over budget 18"
    assert rows["lost, ended twice, overspent, keys leaked, died unasked"] == "**3, 0, 0, 0, 0**"
    assert rows["failures without a fault, too late, otherwise wrong"] == "**0, 2, 0**"
    assert rows["a kill among other faults, 60 jobs open"] == "medians 0.5, 1.5, worst 4.0"
    assert rows["a kill and nothing else near: seconds to the rerun"] == "-"


def test_whatever_may_be_found_is_counted_in_the_table_of_the_readme() -> None:
    assert sorted(kind for columns in PROOF.values() for kinds in columns for kind in kinds) == sorted(KINDS_FOUND)
