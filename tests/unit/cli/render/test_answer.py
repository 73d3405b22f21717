"""An answer for a person: how sure it is and what limits it, beside its text; and the code that says so to a script."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from experts.rag.wording import quoted
from swarm.cli.base import exit_codes
from swarm.cli.base.console import Screen
from swarm.cli.render import answer
from swarm.types.answer import Answer, Segment
from swarm.types.result import Caveat, Citation, FailedModel


def an_answer(**more: Any) -> Answer:
    segment = Segment(
        text="refund", subtasks=("t1",), expert="triage", model="box/b", confidence=0.234, **more.pop("segment", {})
    )
    return Answer(job="j", ending="completed", complete=True, text="refund", segments=(segment,), **more)


@pytest.mark.parametrize("aggregate", ["pass", "synthesis"])
def test_confidence_caveats_and_models_that_failed_are_shown(
    aggregate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"caveats": get_args(Caveat), "failed_models": (FailedModel(model="box/a", reason="unavailable"),)}
    answer.show(Screen(), an_answer(aggregate=aggregate, segment=limits), {})
    shown = capsys.readouterr().out

    assert "confidence 0.23" in shown
    assert all(f"{caveat.replace('_', ' ')}: " in shown for caveat in get_args(Caveat))
    assert "answered by box/b, after box/a (unavailable)" in shown


def test_what_is_sure_is_shown_without_more(capsys: pytest.CaptureFixture[str]) -> None:
    answer.show(Screen(), an_answer(), {})

    assert capsys.readouterr().out == "refund\n\n— from t1 (triage), confidence 0.23\n"


def test_a_quote_that_stands_in_the_text_with_its_place_is_not_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    told = Citation(document="faq.md", section="Returns", quote="It takes\n14 days.")
    other = Citation(document="terms.md", quote="It takes 14 days.")
    text = f"{quoted(told)}\nand more"
    segment = Segment(text=text, subtasks=("t1",), expert="desk", citations=(told, other))
    answer.show(Screen(), an_answer().model_copy(update={"text": text, "segments": (segment,)}), {})
    shown = capsys.readouterr().out

    assert shown.count("It takes") == 2
    assert shown.endswith("— from t1 (desk)\n    “It takes 14 days.” — terms.md\n")


@pytest.mark.parametrize(("ending", "code"), [("completed", 10), ("partial", 8), ("failed", 1), ("cancelled", 7)])
def test_nothing_found_has_a_code_where_the_job_completed(ending: Any, code: int) -> None:
    assert exit_codes.of_answer(an_answer(found=False).model_copy(update={"ending": ending})) == code
    assert exit_codes.of_answer(an_answer()) == 0
