import pytest

from swarm.errors import TooLarge, UnknownExpert
from swarm.models import MAX_TEXT, Card, Catalog, Plan, Request
from swarm.planner import front

CARDS = {
    name: Card(name=name, kind="instruction", description=text, model="local/template", fallback=fallback)
    for name, text, fallback in (("triage", "Classifies messages", ("reply",)), ("reply", "Writes replies", ()))
}
CATALOG = Catalog(version="v1", cards=CARDS)


def test_a_given_plan_is_taken_as_it_is_with_its_edges_written_out() -> None:
    plan = Plan.read([{"id": "a", "expert": "triage", "instruction": "x"},
                      {"id": "b", "expert": "reply", "instruction": "with ${a}"}])  # fmt: skip
    planned = front.given(Request(text="t", plan=plan.model_copy(update={"aggregate": "join"})), CATALOG)

    assert planned is not None
    assert [s.depends_on for s in planned.subtasks] == [(), ("a",)]
    assert (planned.aggregate, planned.fallbacks) == ("join", {"a": ("reply",)})


def test_a_given_expert_gets_the_text_with_placeholders_made_harmless() -> None:
    planned = front.given(Request(text="echo ${HOME}", expert="triage"), CATALOG)

    assert planned is not None
    assert [(s.id, s.expert, s.instruction) for s in planned.subtasks] == [("t1", "triage", "echo $ {HOME}")]
    assert planned.fallbacks == {"t1": ("reply",)}
    assert any("literal" in note for note in planned.notes)


def test_a_text_that_only_its_placeholders_make_too_long_is_refused() -> None:
    with pytest.raises(TooLarge):
        front.given(Request(text="${a} " * (MAX_TEXT // 5), expert="triage"), CATALOG)


def test_nothing_given_is_left_to_a_planner() -> None:
    assert front.given(Request(text="Classify this message"), CATALOG) is None


@pytest.mark.parametrize("where", ["expert", "plan"])
def test_an_unknown_expert_is_named_with_those_that_are_known(where: str) -> None:
    plan = Plan.read([{"id": "a", "expert": "nobody", "instruction": "x"}])
    request = Request(text="t", plan=plan) if where == "plan" else Request(text="t", expert="nobody")
    with pytest.raises(UnknownExpert) as refusal:
        front.given(request, CATALOG)

    assert (refusal.value.name, refusal.value.known) == ("nobody", ("reply", "triage"))


async def test_without_a_given_plan_the_local_planner_plans() -> None:
    planned = await front.plan(Request(text="Classify this message"), CATALOG)

    assert (planned.planner, [s.expert for s in planned.subtasks]) == ("local/planner", ["triage"])
    assert planned.fallbacks == {"t1": ("reply",)}


async def test_a_long_text_is_planned_all_the_same() -> None:
    planned = await front.plan(Request(text=f"Classify this message: '{'x ' * 10_000}'"), CATALOG)

    assert [s.expert for s in planned.subtasks] == ["triage"]


async def test_no_plan_and_bad_input_become_failures() -> None:
    lost = await front.plan(Request(text="Bake a cake"), CATALOG)
    wrong = await front.plan(Request(text="x", expert="nobody"), CATALOG)

    assert lost.failure is not None
    assert wrong.failure is not None
    assert (lost.failure.reason, wrong.failure.reason) == ("no_expert", "bad_input")
    assert "nothing fits 'Bake a cake'" in lost.failure.message
    assert lost.subtasks == wrong.subtasks == ()
