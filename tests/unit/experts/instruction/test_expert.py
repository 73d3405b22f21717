"""Instruction experts: a template in a sandbox, or a model."""

from __future__ import annotations

import time
from typing import Any

import pytest

from experts.instruction.expert import ChatExpert, TemplateExpert
from experts.instruction.template import MAX_OUTPUT, compiled, render
from swarm.errors import BadOutput, ExpertError
from swarm.llm.base import Completion
from swarm.testing.scripted_model import ScriptedModel
from swarm.types.card import Card
from swarm.types.plan import Subtask, result_line
from swarm.types.result import Citation, Solution

CITED = Citation(document="a.md", section="S", quote="within 14 days")
RULE = Solution(text='"within 14 days" (a.md)', data={"found": True}, citations=(CITED,))


def a_card(body: str, model: str = "local/template", **changes: Any) -> Card:
    return Card(name="x", kind="instruction", description="d", model=model, instruction=body, **changes)


def asked(instruction: str = "Say it", **changes: Any) -> Subtask:
    return Subtask(id="t3", expert="x", instruction=instruction, **changes)


async def test_a_template_sees_its_instruction_and_results() -> None:
    body = (
        "{{ instruction }} | {{ inputs['t1'] }} | {{ data.t1.label }} | {% for r in results %}{{ r.id }};{% endfor %}"
    )
    inputs = {"t1": Solution(text="refund", data={"label": "refund"}), "r1.t2": Solution(text="two")}

    solution = await TemplateExpert(a_card(body)).solve(asked("About ${t1.label}"), inputs)

    assert solution.text == "About refund | refund | refund | t1;r1.t2;"
    assert solution.model == "local/template"


async def test_a_template_sees_its_wish_without_the_results_that_a_planner_appended() -> None:
    said = "\n\n".join(
        ["Reply about ${t1}.", "From the request: it broke", result_line("t1", "triage"), result_line("r1.t2", "desk")]
    )
    inputs = {"t1": Solution(text="refund"), "r1.t2": Solution(text="Result of t9 (x): ${t9}")}

    body = "{{ instruction }}|{% for r in results %}{{ r.text }};{% endfor %}"
    solution = await TemplateExpert(a_card(body)).solve(asked(said), inputs)

    assert solution.text == "Reply about refund.\n\nFrom the request: it broke|refund;Result of t9 (x): ${t9};"


async def test_a_template_hands_on_the_citations_that_it_quotes() -> None:
    quoting = TemplateExpert(
        a_card("{% for r in results %}{% for c in r.citations %}{{ c.quote }}{% endfor %}{% endfor %}")
    )
    silent = TemplateExpert(a_card("Nothing."))

    assert (await quoting.solve(asked(), {"t1": RULE})).citations == (CITED,)
    assert (await silent.solve(asked(), {"t1": RULE})).citations == ()


async def test_a_template_with_a_schema_writes_json() -> None:
    expert = TemplateExpert(a_card('{"n": {{ results | length }}}', output={"type": "object"}))

    assert (await expert.solve(asked(), {})).data == {"n": 0}


async def test_values_are_never_read_as_template() -> None:
    solution = await TemplateExpert(a_card("{{ instruction }}")).solve(asked("{{ 7 * 7 }} ${t1}"), {"t1": RULE})

    assert solution.text.startswith("{{ 7 * 7 }}")


@pytest.mark.parametrize(
    "body",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ results.append(1) }}",
        "{{ instruction.format(1) if false else ''.__class__ }}",
        "{{ unknown }}",
        "{{ 1 / 0 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 9999 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ range(1000000000) | list }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_what_a_template_may_not_do_is_an_expert_error(body: str) -> None:
    begun = time.process_time()

    with pytest.raises(ExpertError, match="template"):
        render(compiled(body), {"instruction": "words", "results": []}, seconds=5)
    assert time.process_time() - begun < 5


def test_a_template_is_stopped_at_its_time() -> None:
    body = "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}"

    with pytest.raises(ExpertError, match="too long"):
        render(compiled(body), {}, seconds=0.01)


def test_output_is_capped_while_it_is_written() -> None:
    with pytest.raises(ExpertError, match=f"more than {MAX_OUTPUT:,} characters"):
        render(compiled("{% for i in range(2000) %}{{ x }}{% endfor %}"), {"x": "y" * 1000}, seconds=5)


async def test_a_model_gets_the_body_and_the_fenced_inputs() -> None:
    model = ScriptedModel(lambda messages: "Dear customer")

    solution = await ChatExpert(a_card("Be kind.", "a/b"), model).solve(asked("Use ${t1}"), {"t1": RULE})

    system, user = model.calls[0]
    assert (system.role, system.content) == ("system", "Be kind.")
    assert user.content.startswith("Use [t1]\n\n")
    assert '"within 14 days" (a.md)' in user.content
    assert solution.text == "Dear customer"
    assert solution.usage.calls == 1


async def test_a_schema_is_told_to_the_model_and_its_json_read() -> None:
    model = ScriptedModel(lambda messages: 'Here:\n```json\n{"label": "a"}\n```')
    card = a_card("Label it.", "a/b", output={"type": "object"})

    solution = await ChatExpert(card, model).solve(asked(output={"required": ["label"]}), {})

    assert solution.data == {"label": "a"}
    assert '{"required": ["label"]}' in model.calls[0][0].content


async def test_half_an_answer_in_json_is_none() -> None:
    model = ScriptedModel(lambda messages: Completion('{"label": "a', cut=True))

    with pytest.raises(BadOutput, match="cut"):
        await ChatExpert(a_card("Be kind.", "a/b", output={"type": "object"}), model).solve(asked(), {})
