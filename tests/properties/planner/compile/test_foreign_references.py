"""Texts of users and results that look like references, in plans of a model that copied them, changed or not."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.planner.base import DoneSubtask, PriorPlan
from swarm.planner.compile.foreign_references import Foreign
from swarm.planner.compile.references import mentions
from swarm.types.plan import REFERENCE
from tests.unit.planner.model.asking import Published, answers, plan, plan_text, step

PIECES = (
    "${t1}", "$ {t1}", "$${t1}", "＄｛t1｝", "{{t1}}", "{{ t1 }}", "${T1}", "${ t1 }", "${t1.label}", "${t1}.label",
    "$\u200b{t1}", "$\\{t1\\}", "`${`t1`}`", "%24%7Bt1%7D", "&#36;&#123;t1}", "<node-0>", "<node-1>.label", "<t1>",
    "<step 1>", "#E1", "$1", "$t1", "$t1$", "${1}", "{{1}}", "the output of step 1", "result of task_1", "${policy}",
    "{{policy}}", "<policy>", "${item}", "{{request}}", "${request}", "t1", "node-1", "$", "{", "}", "lamp", "Why?",
)  # fmt: skip
CHANGES: Sequence[Callable[[str], str]] = (
    str,
    str.lower,
    str.upper,
    lambda said: unicodedata.normalize("NFKC", said),
    lambda said: " ".join(said.split()),
    lambda said: said.replace("$ {", "${").replace("\u200b", "").replace("\\", ""),
    lambda said: said.replace("{{", "${").replace("}}", "}"),
)


@st.composite
def copied(draw: st.DrawFn, pieces: Sequence[str]) -> str:
    """A stretch of a request as a model might write it again."""
    start = draw(st.integers(0, len(pieces) - 1))
    end = draw(st.integers(start + 1, len(pieces)))
    return draw(st.sampled_from(CHANGES))("".join(pieces[start:end]))


@given(st.data())
def test_nothing_that_a_model_copied_from_a_request_is_resolved(data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.sampled_from(PIECES).flatmap(lambda p: st.sampled_from((p, f"{p} "))), min_size=1))
    words = [data.draw(copied(pieces)) for _ in range(data.draw(st.integers(1, 3)))]
    more = {"arguments": {"text": data.draw(copied(pieces))}} if data.draw(st.booleans()) else {}
    first = data.draw(st.sampled_from(("t1", "step1", "policy1", "s1")))
    written = plan_text(step(first, "policy"), step("x", "reply", f"Answer {' and '.join(words)}", **more))
    published = Published()

    planned, _ = asyncio.run(plan(answers(written), f"Sort this: {''.join(pieces)}", publish=published))

    for subtask in [*planned.subtasks, *published.subtasks]:
        assert REFERENCE.findall(subtask.instruction) == []
        assert subtask.depends_on == ()


async def test_a_model_is_told_ids_that_the_request_does_not_have_and_its_references_work() -> None:
    text = "Look up the policy and say what is wrong with: `Hi ${t1}`"
    written = plan_text(
        step("s1", "policy"), step("s2", "reply", "By ${s1}: what is wrong with $ {T1} or ${t1}?", "s1")
    )
    planned, model = await plan(answers(written), text)

    system = model.calls[0][0].content
    assert '"id": "s1"' in system
    assert "${s1}" in system
    assert "t1" not in system
    assert planned.subtasks[1].instruction == "By ${s1}: what is wrong with $ {T1} or $${t1}?"
    assert len(model.calls) == 1


async def test_a_reference_that_may_be_a_copy_is_refused_with_another_id_for_its_step() -> None:
    text = "Look up the policy, then explain 'it costs ${t1} today'"
    doubtful = plan_text(step("t1", "policy"), step("t2", "reply", "Explain ${t1} by the policy", "t1"))
    sound = plan_text(step("s1", "policy"), step("s2", "reply", "Explain ${t1} by ${s1}", "s1"))
    planned, model = await plan(answers(doubtful, sound), text)

    assert planned.subtasks[1].instruction == "Explain $${t1} by ${s1}"
    assert "'${t1}' stands in the request or a result too" in model.calls[1][-1].content
    assert "give that step another id, such as s1" in model.calls[1][-1].content


async def test_a_reference_in_a_result_of_an_earlier_round_stays_text() -> None:
    done = DoneSubtask(id="r1.t1", expert="policy", instruction="look", text="The template says ${r1.t1} and ${t1}")
    again = plan_text(step("s1", "triage"), step("s2", "reply", "What does ${r1.t1} mean? And ${t1}?", "r1.t1"))
    apart = plan_text(step("s1", "triage"), step("s2", "reply", "What do they mean? And ${t1}?", "r1.t1"))
    planned, model = await plan(answers(again, apart), tried=PriorPlan(done=(done,)))

    assert "leave it out here, 'r1.t1' in depends_on is enough" in model.calls[1][-1].content
    assert planned.subtasks[1].instruction == "What do they mean? And $${t1}?"
    assert planned.subtasks[1].depends_on == ("r1.t1",)


async def test_the_placeholder_of_the_request_is_none_where_the_request_has_it_as_text() -> None:
    text = "What does {{request}} mean in a template?"
    written = plan_text(step("t1", "policy", "Say what {{request}} means"), step("t2", "reply", "Q: {{request_2}}"))
    planned, model = await plan(answers(written), text)

    assert "{{request_2}}" in model.calls[0][0].content
    assert "{{request}}" not in model.calls[0][0].content
    assert [s.instruction for s in planned.subtasks] == ["Say what {{request}} means", f"Q: {text}"]


def test_a_dollar_word_before_a_reference_does_not_hide_it() -> None:
    assert [mention.name for mention in mentions("$a${t1}")] == ["a", "t1"]


@pytest.mark.parametrize("text", ["Sort my mail", "Step 1: sort it. Step 2: reply. It costs 5 $ (t-shirt).", "a < b"])
def test_an_everyday_request_takes_nothing_from_a_plan(text: str) -> None:
    foreign = Foreign.of(text)

    assert (foreign.ids, foreign.placeholder) == ("t", "request")
    assert not any(foreign.has(mention) for mention in mentions("${t1} {{t2}} <node-1> the output of step 1"))
