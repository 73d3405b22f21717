"""A job as it is watched: plans that come in pieces, conditions, items, new plans. Told as lines and as rows."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from swarm.cli.commands.jobs import happened
from swarm.cli.render.live_job import NO_PLAN, JobView, _Picture, steps
from swarm.types.events import (
    Accepted,
    Answered,
    AnyEvent,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Started,
    Valued,
    Withdrawn,
)
from swarm.types.plan import Condition, Subtask
from swarm.types.result import FailedModel, Failure, Mend


class Watch:
    """A view and every line it told."""

    def __init__(self, *events: AnyEvent) -> None:
        self.view, self.lines = JobView("j"), [""]
        self.take(*events)

    def take(self, *events: AnyEvent) -> list[str]:
        """The lines for these events."""
        start = len(self.lines)
        for event in events:
            self.view.take(event)
            self.lines += steps(self.view, event)
        return self.lines[start:]

    @property
    def states(self) -> dict[str, str]:
        return {row.id: row.state for row in self.view.rows.values()}


def step(name: str, *after: str, **more: object) -> Subtask:
    return Subtask.model_validate({"id": name, "expert": "x", "instruction": "do", "depends_on": after, **more})


def piece(*subtasks: Subtask, closed: bool = False, number: int = 1, **more: object) -> Planned:
    return Planned.model_validate(
        {"round": number, "subtasks": subtasks, "closed": closed, "planner": "p", **more}
    )  # fmt: skip


def solved(name: str, attempt: int = 1) -> tuple[AnyEvent, ...]:
    return (
        Released(subtask=name, attempt=attempt, expert="x"),
        Started(subtask=name, attempt=attempt),
        OutcomeRecorded(subtask=name, attempt=attempt, body="b", ms=7),
    )


A, B, C = step("r1.a"), step("r1.b"), step("r1.c", "r1.a")


def test_pieces_of_a_plan_are_told_once_each() -> None:
    watch = Watch(Accepted(), RoundOpened(round=1))

    assert watch.take(piece(A)) == ["  r1.a  x: do"]
    assert watch.take(piece(B)) == ["  r1.b  x: do"]
    assert watch.take(piece(A, B, C, closed=True)) == ["plan by p: 3 subtasks", "  r1.c  x after r1.a: do"]
    assert list(watch.view.rows) == ["r1.a", "r1.b", "r1.c"]


def test_the_finished_plan_counts_and_what_it_has_not_disappears() -> None:
    watch = Watch(Accepted(), RoundOpened(round=1), piece(A, B), Released(subtask="r1.b", attempt=1, expert="x"))
    watch.take(Started(subtask="r1.b", attempt=1))
    assert watch.states == {"r1.a": "waiting", "r1.b": "running"}

    watch.take(piece(A, C, closed=True), Withdrawn(subtask="r1.b", attempt=1))
    assert watch.states == {"r1.a": "waiting", "r1.c": "waiting"}


def test_a_planner_that_was_lost_leaves_no_rows() -> None:
    watch = Watch(Accepted(), RoundOpened(round=1), piece(A, B), *solved("r1.a"))
    told = watch.take(RoundOpened(round=2), piece(step("r2.a"), number=2, closed=True))

    assert told[0] == "planning again, round 2"
    assert watch.states == {"r2.a": "waiting"}


def test_a_condition_that_does_not_hold_skips_with_its_reason() -> None:
    when = Condition(result="r1.a.label", equals="refund")
    subtasks = A, step("r1.b", "r1.a", when=when), step("r1.c", "r1.b")
    watch = Watch(Accepted(), RoundOpened(round=1), piece(*subtasks, closed=True), *solved("r1.a"))
    told = watch.take(Valued(values={"r1.a.label": "praise"}))

    assert told == [
        "r1.b  x  skipped: its condition on r1.a.label does not hold",
        "r1.c  x  skipped: all it waited for was skipped",
    ]
    assert watch.states == {"r1.a": "solved", "r1.b": "skipped", "r1.c": "skipped"}
    assert watch.view.rows["r1.b"].document()["reason"] == "its condition on r1.a.label does not hold"


def test_what_fails_without_an_attempt_is_told() -> None:
    when = Condition(result="r1.a.lable", equals="refund")
    subtasks = A, step("r1.b", "r1.a", when=when), step("r1.c", "r1.a", for_each="r1.a.label")
    watch = Watch(Accepted(), RoundOpened(round=1), piece(*subtasks, closed=True), *solved("r1.a"))
    told = watch.take(Valued(missing={"r1.a.lable": "it has label", "r1.a.label[]": "r1.a.label is a text"}))

    assert told == [
        "r1.b  x  failed (bad_input: r1.a.lable: it has label)",
        "r1.c  x  failed (bad_input: for_each needs a list in r1.a.label: r1.a.label is a text)",
    ]


def test_a_failed_attempt_is_told_once_and_so_is_the_whole_of_failed_items() -> None:
    subtasks = A, step("r1.b", "r1.a", for_each="r1.a.list")
    watch = Watch(Accepted(), RoundOpened(round=1), piece(*subtasks, closed=True), *solved("r1.a"))
    watch.take(Valued(values={"r1.a.list[]": 1}), Released(subtask="r1.b#1", attempt=1, expert="x"))
    told = watch.take(OutcomeRecorded(subtask="r1.b#1", attempt=1, failure=Failure(reason="refused", message="no")))

    assert told == ["r1.b#1  x  failed (no) in 0 ms", "r1.b  x  failed (expert_error: none of its 1 items was solved)"]


def test_items_have_rows_of_their_own_behind_the_subtask() -> None:
    subtasks = A, step("r1.b", "r1.a", instruction="do ${item}", for_each="r1.a.list"), step("r1.c", "r1.b")
    watch = Watch(Accepted(), RoundOpened(round=1), piece(*subtasks, closed=True), *solved("r1.a"))
    told = watch.take(Valued(values={"r1.a.list[]": 2}))

    assert told == ["r1.b  x  expanded: 2 items"]
    assert list(watch.view.rows) == ["r1.a", "r1.b", "r1.b#1", "r1.b#2", "r1.c"]
    assert watch.view.rows["r1.b#2"].instruction == "do ${item}"

    told = watch.take(*solved("r1.b#2"), *solved("r1.b#1"))
    assert told == ["r1.b#2  x  solved in 7 ms", "r1.b#1  x  solved in 7 ms"]
    assert watch.states == dict.fromkeys(("r1.a", "r1.b", "r1.b#1", "r1.b#2"), "solved") | {"r1.c": "waiting"}


def test_a_plan_around_a_failure_keeps_what_failed_in_sight() -> None:
    boom = Failure(reason="refused", message="no")
    watch = Watch(Accepted(replans=1, attempts=1), RoundOpened(round=1), piece(A, B, C, closed=True, again=True))
    watch.take(*solved("r1.b"), Released(subtask="r1.a", attempt=1, expert="x"), Started(subtask="r1.a", attempt=1))
    watch.take(OutcomeRecorded(subtask="r1.a", attempt=1, failure=boom))
    assert watch.states == {"r1.a": "failed", "r1.b": "solved", "r1.c": "dropped"}

    told = watch.take(RoundOpened(round=2), piece(step("r2.a", "r1.b"), number=2, closed=True))
    assert told == [
        "planning again, round 2",
        "plan by p: 1 subtask",
        "  r2.a  x after r1.b: do",
        "r1.a  x  withdrawn: refused: no",
        "r1.c  x  withdrawn: waited for r1.a, which failed",
    ]
    assert watch.states == {"r1.a": "withdrawn", "r1.b": "solved", "r1.c": "withdrawn", "r2.a": "waiting"}


def test_a_retry_waits_with_the_reason_of_the_last_failure() -> None:
    boom = Failure(reason="unavailable", message="busy", retryable=True)
    watch = Watch(Accepted(), RoundOpened(round=1), piece(A, closed=True))
    watch.take(Released(subtask="r1.a", attempt=1, expert="x"), Started(subtask="r1.a", attempt=1))
    watch.take(OutcomeRecorded(subtask="r1.a", attempt=1, ms=3, failure=boom))
    row = watch.view.rows["r1.a"]
    assert (row.state, row.reason, row.ms) == ("queued", "unavailable: busy", 3)

    watch.take(Released(subtask="r1.a", attempt=2, expert="y"), Started(subtask="r1.a", attempt=2))
    assert (row.state, row.expert) == ("running", "y")


def test_reasons_and_mends_of_the_planner_are_kept() -> None:
    mend = Mend(place="steps.0.expert", what="X is x")
    told = piece(A, mends=[mend], notes=["tried"])
    watch = Watch(Accepted(), RoundOpened(round=1), told)
    watch.take(told.model_copy(update={"closed": True, "why": {"r1.a": "it fits"}}))

    assert watch.view.rows["r1.a"].document()["why"] == "it fits"
    assert (watch.view.mends, watch.view.notes) == ((mend,), ("tried",))


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        (("by words", "tried"), ""),
        ((f"{NO_PLAN}: busy\nnow", "by words"), f"{NO_PLAN}: busy now; local/planner planned instead"),
        (
            ("skip: no", "turn 2: no JSON", f"{NO_PLAN}: busy", "by words"),
            f"{NO_PLAN}: busy; local/planner planned instead",
        ),
    ],
)
def test_a_planners_model_that_did_not_plan_is_told(notes: tuple[str, ...], told: str) -> None:
    watch = Watch(Accepted(), RoundOpened(round=1))
    watch.take(piece(A, closed=True, notes=notes, planner="local/planner"))

    assert watch.view.unplanned == told


def test_a_long_reason_of_a_planners_model_is_cut() -> None:
    watch = Watch(Accepted(), RoundOpened(round=1), piece(A, closed=True, notes=(f"{NO_PLAN}: {'x' * 9_000}",)))

    assert len(watch.view.unplanned) < 400


@pytest.mark.parametrize("width", [40, 120])
def test_every_state_can_be_drawn(width: int) -> None:
    when = Condition(result="r1.a.label", equals="refund")
    subtasks = A, step("r1.b", "r1.a", when=when), step("r1.c", "r1.a", instruction="do ${item}", for_each="r1.a.list")
    watch = Watch(Accepted(), RoundOpened(round=1), piece(*subtasks, closed=True), *solved("r1.a"))
    watch.take(Valued(values={"r1.a.label": "praise", "r1.a.list[]": 2}), *solved("r1.c#1"))
    out = StringIO()
    Console(file=out, width=width).print(_Picture(watch.view))
    drawn = out.getvalue()

    assert max(map(len, drawn.splitlines())) <= width
    assert [line.split()[:2] for line in drawn.splitlines()[1:]] == [
        ["✓", "r1.a"], ["–", "r1.b"], ["▸", "r1.c"], ["✓", "r1.c#1"], ["·", "r1.c#2"],
    ]  # fmt: skip


def test_every_event_has_its_words_for_a_watcher() -> None:
    assert [
        happened(event)
        for event in (
            piece(A),
            Valued(values={"t1.label": "a\x1b"}, missing={"t1.n": "no field n"}),
            Withdrawn(subtask="r1.a", attempt=2),
            Started(
                subtask="a", attempt=1, claim=2, worker="w1", waited=900, limited_by="endpoint:openai", limited_ms=850
            ),
            Started(
                subtask="a", attempt=1, claim=2, worker="w1", waited=900, limited_by="budget:tenant", limited_ms=900
            ),
            Answered(lacking="the date"),
            Answered(),
        )
    ] == [
        "r1.a x (by p, more to come)",
        't1.label is "a\\u001b", t1.n: no field n',
        "r1.a attempt 2",
        "a attempt 1, claim 2 at w1, after 850 ms at the limits of endpoint:openai",
        "a attempt 1, claim 2 at w1, after 900 ms for room in the budget of the tenant",
        "lacking: the date",
        "",
    ]


def test_a_watcher_learns_which_model_answered_for_another_and_why() -> None:
    failed = (FailedModel(model="box/big", reason="unavailable"),)
    outcome = OutcomeRecorded(
        subtask="r1.a", attempt=1, expert="x", ms=5, body="b", model="box/spare", failed_models=failed
    )
    watch = Watch(piece(A, closed=True), Released(subtask="r1.a", attempt=1, expert="x"))

    assert watch.take(outcome) == ["r1.a  x  solved in 5 ms by box/spare, after box/big (unavailable)"]
    assert happened(outcome) == "r1.a attempt 1 solved by box/spare, after box/big (unavailable) (5 ms)"
