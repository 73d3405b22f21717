"""Text from outside reaches the terminal as text, and every error has its code and its shape."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from swarm import errors
from swarm.cli.base import exit_codes
from swarm.cli.base.console import Screen, clean, flat, listed
from swarm.cli.render import answer as answer_view
from swarm.cli.render.live_job import JobRow, JobView, steps
from swarm.engine.receipt import TenantReceipt
from swarm.types.answer import Answer, Ending, Missing, Part, Receipt, Segment
from swarm.types.events import Ended, OutcomeRecorded, Planned, Released, Reset, RoundOpened, Started
from swarm.types.plan import Subtask
from swarm.types.result import Citation, Failure, Usage


@pytest.mark.parametrize(
    "evil", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x00", "\u202e", "\u2066", "\ud800", "\x7f", "\b"]
)
def test_what_steers_a_terminal_is_replaced(evil: str) -> None:
    assert not set(evil) & set("\x1b\x07\x9b\r\x00\u202e\u2066\ud800\x7f\b") & set(clean(f"a{evil}b"))


def test_lines_tabs_and_all_scripts_are_kept() -> None:
    assert clean("a\r\n\tß 日本 🙂\n") == "a\n\tß 日本 🙂\n"


def test_flat_text_is_one_line_and_no_longer_than_asked() -> None:
    assert flat("a\n  b\tc") == "a b c"
    assert flat("abcdef", 4) == "abc…"


def test_a_long_list_says_how_many_more() -> None:
    assert listed("abcde", 3) == "a, b, c and 2 more"


def test_markup_in_a_text_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().line("[bold red]not bold[/bold red] :smile: [/nothing]")

    assert capsys.readouterr().out == "[bold red]not bold[/bold red] :smile: [/nothing]\n"


def test_with_json_only_documents_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=True)
    screen.line("for people")
    screen.note("for people")
    screen.columns([("a", "b")])
    screen.document({"a": "ü\x9b"})

    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": "ü\x9b"}
    assert out.isascii()
    assert err == ""


def test_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().columns([("a", "bbb", "x y"), ("aa", "b", "z")], ("H", "I", "J"))

    assert capsys.readouterr().out == "H   I    J\na   bbb  x y\naa  b    z\n"


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInput("text", "empty"), 2),
        (errors.UnknownExpert("x", ["y"]), 2),
        (errors.JobConflict("x"), 2),
        (errors.Busy("in all", 5, 5, 2.0), 3),
        (errors.BrokerUnavailable("r", "refused"), 4),
        (errors.BrokerDenied("r", "password"), 4),
        (errors.BrokerReadOnly("r"), 4),
        (errors.BrokerFull("r", "OOM"), 4),
        (errors.EmbeddedUnavailable("no redis-server"), 4),
        (errors.JobNotFound("x"), 5),
        (errors.WaitTimeout("x", 1), 6),
        (errors.NoPlan("nothing fits"), 1),
        (KeyboardInterrupt(), 130),
        (RuntimeError("a bug"), 70),
    ],
)
def test_every_error_has_its_code_and_its_json(error: BaseException, code: int) -> None:
    told = json.loads(exit_codes.document(error))["error"]

    assert exit_codes.of_error(error) == code
    assert told["type"] == type(error).__name__
    assert told["message"]


def test_an_error_as_json_carries_its_facts() -> None:
    assert json.loads(exit_codes.document(errors.Busy("in all", 5, 4, 2.0)))["error"] == {
        "type": "Busy",
        "message": "5 jobs are open in all (limit 4); try again in 2 s, or add workers",
        "scope": "in all",
        "open_jobs": 5,
        "limit": 4,
        "retry_after": 2.0,
    }
    assert json.loads(exit_codes.document(errors.JobNotFound("j1")))["error"]["job"] == "j1"


def test_every_ending_has_a_code_and_every_code_a_meaning() -> None:
    codes = {exit_codes.of_ending(ending) for ending in get_args(Ending)}

    assert codes == {0, 1, 7, 8}
    assert codes <= exit_codes.MEANING.keys()


def test_a_package_that_is_missing_names_its_extra() -> None:
    missing = exit_codes.missing_extra(ModuleNotFoundError(name="arq.worker"))

    assert missing is not None
    assert 'pip install "swarm-router[worker]"' in str(missing)
    assert exit_codes.of_error(missing) == exit_codes.BAD_INPUT
    assert exit_codes.missing_extra(ModuleNotFoundError(name="acme")) is None


# -- views ---------------------------------------------------------------------------------------------------------


def planned(*ids: str, round: int = 0) -> Planned:
    subtasks = tuple(Subtask(id=i, expert="x", instruction=f"do {i}") for i in ids)
    return Planned(round=round, subtasks=subtasks, planner="p")


def after(*events: object) -> JobView:
    view = JobView("j")
    for event in events:
        view.take(event)  # type: ignore[arg-type]
    return view


def states(view: JobView) -> dict[str, str]:
    return {row.id: row.state for row in view.rows.values()}


def test_a_view_follows_its_subtasks() -> None:
    boom = Failure(reason="timeout", message="too slow", retryable=True)
    view = after(
        planned("a", "b", "c"),
        Released(subtask="a", attempt=1),
        Started(subtask="a", attempt=1),
        OutcomeRecorded(subtask="a", attempt=1, ms=5),
        Released(subtask="b", attempt=1),
        Started(subtask="b", attempt=1),
        OutcomeRecorded(subtask="b", attempt=1, failure=boom),
        Released(subtask="b", attempt=2, expert="y"),
        Ended(ending="cancelled"),
    )

    assert states(view) == {"a": "solved", "b": "queued", "c": "waiting"}
    assert (view.rows["a"].ms, view.rows["b"].expert, view.ending) == (5, "y", "cancelled")


def test_a_late_failure_does_not_undo_a_solution() -> None:
    late = OutcomeRecorded(subtask="a", attempt=1, failure=Failure(reason="bug", message="late"))

    assert states(after(planned("a"), OutcomeRecorded(subtask="a", attempt=2), late)) == {"a": "solved"}


def test_a_new_round_and_a_reset_forget_what_they_replace() -> None:
    lost = (RoundOpened(round=1), planned("r1.a", round=1).model_copy(update={"closed": False}))
    assert states(after(*lost, RoundOpened(round=2), planned("r2.a", round=2))) == {"r2.a": "waiting"}
    assert states(after(planned("a"), Reset())) == {}


def test_a_plan_of_a_thousand_is_told_in_a_few_lines() -> None:
    event = planned(*(f"t{i}" for i in range(1_000)))

    assert len(list(steps(after(event), event))) < 30


def test_a_row_as_json_says_how_it_went() -> None:
    assert JobRow("a", "x", "do", ("b",), "it fits", state="skipped", reason="not now", ms=3).document() == {
        "id": "a",
        "expert": "x",
        "why": "it fits",
        "instruction": "do",
        "depends_on": ("b",),
        "state": "skipped",
        "reason": "not now",
        "ms": 3,
    }


# -- answers -------------------------------------------------------------------------------------------------------


def shown(answer: Answer, capsys: pytest.CaptureFixture[str]) -> str:
    answer_view.show(Screen(), answer, {"a": "policy", "b": "reply"})
    return capsys.readouterr().out


def test_an_answer_says_where_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    cited = Citation(document="policies/refunds.md", section="Damage", quote="We refund\nbroken goods.")
    segment = Segment(text="Dear customer", subtasks=("b", "a"), expert="reply", citations=(cited,))
    answer = Answer(
        job="j", ending="completed", complete=True, text="Dear customer", aggregate="pass", segments=(segment,)
    )

    assert shown(answer, capsys).splitlines() == [
        "Dear customer",
        "",
        "— from b (reply), built on a (policy)",
        "    “We refund broken goods.” — policies/refunds.md, Damage",
    ]


def test_every_part_of_a_joined_answer_says_where_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    segments = tuple(Segment(text=f"text {i}", subtasks=(i,), expert=i * 2) for i in "ab")
    lost = Missing(subtask="c", expert="slow", reason="timeout", message="no answer within 1 s")
    after = Missing(subtask="d", expert="late", reason="dependency", because="c")
    out = shown(
        Answer(
            job="j", ending="partial", complete=False, aggregate="join", segments=segments, missing=(lost, after),
            reason="2 of 4 subtasks were solved",
        ),
        capsys,
    )  # fmt: skip

    assert out.splitlines() == [
        "text a", "— from a (aa)", "", "text b", "— from b (bb)", "",
        "missing: c (slow): timeout, no answer within 1 s",
        "missing: d (late): waited for c, which failed",
        "partial: 2 of 4 subtasks were solved",
    ]  # fmt: skip


def test_a_receipt_says_what_was_stopped() -> None:
    used = Usage(calls=2, input_tokens=1_200, output_tokens=30, cost=5_000, presumed=20_000)
    parts = (
        Part(subtask="a", attempt=1, expert="x", how="finished", usage=used.model_copy(update={"presumed": 0})),
        Part(subtask="b", attempt=1, expert="y", how="stopped", usage=Usage(presumed=20_000), unknown=True),
        Part(subtask="c", attempt=1, expert="x", how="withdrawn"),
    )
    more = {"parts": parts, "stopped": ("b:1",), "withdrawn": ("c:1",), "finished": ("a",), "usage": used}
    done = Receipt.model_validate({"job": "j", "ending": "cancelled", **more})

    assert answer_view.receipt(done) == [
        "j cancelled",
        "  stopped: b:1 (y), the usage of its last call is unknown, at most $0.02",
        "  withdrawn: c:1",
        "  solved before: a",
        "  used: 2 model calls, 1,200 + 30 tokens, $0.005, and up to $0.02 of unknown fate",
    ]
    assert answer_view.receipt(Receipt(job="j", ending="failed")) == [
        "j had ended before, as failed",
        "  used: no model call",
    ]


def test_a_receipt_with_an_unknown_attempt_claims_no_more_than_is_known() -> None:
    part = Part(subtask="b", attempt=1, expert="y", how="stopped", unknown=True)

    told = answer_view.receipt(Receipt(job="j", ending="cancelled", stopped=("b:1",), parts=(part,)))

    assert told[-1] == "  used: no model call that is known"


def test_a_receipt_of_one_subtask_says_what_became_of_its_attempts() -> None:
    parts = (Part(subtask="b", attempt=1, expert="y", how="stopped", unknown=True),)

    assert answer_view.receipt(Receipt(job="j", cancelled=("b",), parts=parts), "b") == [
        "b of j is cancelled",
        "  stopped: b:1 (y), the usage of its last call is unknown",
    ]
    assert answer_view.receipt(Receipt(job="j"), "b") == ["b of j was settled before, and stays so"]


def test_a_receipt_of_a_tenant_adds_up_and_says_what_was_left() -> None:
    cancelled = Receipt(job="j1", ending="cancelled", stopped=("a:1",), withdrawn=("b:1", "c:1"))
    found = TenantReceipt(
        tenant="acme",
        receipts=(cancelled, Receipt(job="j2", ending="completed")),
        pending=("j3",),
        accepted_since=("j4",),
    )

    assert answer_view.tenant_receipt(found) == [
        "acme: 1 jobs cancelled",
        "  stopped 1 and withdrew 2 attempts",
        "  used: no model call",
        "  1 ended by themselves meanwhile",
        "  1 were asked to end and have not yet: j3",
        "  1 were accepted meanwhile and go on: j4",
    ]
    assert answer_view.tenant_receipt(TenantReceipt(tenant="acme")) == ["acme: no open jobs"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (Missing(subtask="a", expert="x", reason="cancelled", message="cancelled on request"), "cancelled on request"),
        (Missing(subtask="b", expert="x", reason="dependency", because="a"), "waited for a, which was cancelled"),
        (Missing(subtask="c", expert="x", reason="dependency", because="d"), "waited for d, which failed"),
        (Missing(subtask="c", expert="x", reason="over_budget", message="$2 needed"), "over budget, $2 needed"),
        (Missing(subtask="c", expert="x", reason="not_started", message="it had not begun"), "it had not begun"),
        (
            Missing(subtask="c", expert="x", reason="timeout", message="no answer within 3 s"),
            "timeout, no answer within 3 s",
        ),
        (Missing(subtask="c", expert="x", reason="gone", message="its result is lost"), "gone, its result is lost"),
    ],
)
def test_what_is_missing_is_told_once_and_why(missing: Missing, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = Missing(subtask="a", expert="x", reason="cancelled", message="cancelled on request")
    both = (missing,) if missing == first else (first, missing)
    answer_view.show(Screen(), Answer(job="j", ending="partial", complete=False, missing=both), {})

    assert capsys.readouterr().out.splitlines()[-1] == f"missing: {missing.subtask} (x): {said}"
