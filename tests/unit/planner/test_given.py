"""Plans and experts that a request gives, and how its answer is made."""

from __future__ import annotations

from typing import Any

import pytest

from swarm.errors import TooLarge, UnknownExpert
from swarm.planner import planner
from swarm.planner.base import resolved, writer_of
from swarm.settings import Settings
from swarm.types.base import MAX_TEXT
from swarm.types.events import Planned
from swarm.types.plan import Plan, Subtask
from swarm.types.request import Request
from tests.builders import a_plan
from tests.unit.planner.ways import CATALOG, TWO, Cache, a_front, experts, never, says

BOTH = "Classify this message, then write a reply: 'My lamp is broken'"


# -- given -----------------------------------------------------------------------------------------------------


def test_a_given_plan_is_taken_as_it_is_with_its_edges_written_out() -> None:
    plan = Plan.read([{"id": "a", "expert": "triage", "instruction": "x"},
                      {"id": "b", "expert": "reply", "instruction": "with ${a}"}])  # fmt: skip
    planned = planner.given(Request(text="t", plan=plan.model_copy(update={"aggregate": "join"})), CATALOG)

    assert planned is not None
    assert [s.depends_on for s in planned.subtasks] == [(), ("a",)]
    assert (planned.aggregate, planned.fallbacks) == ("join", {"a": ("reply",)})


def test_a_given_expert_gets_the_text_with_placeholders_escaped() -> None:
    planned = planner.given(Request(text="echo ${HOME}", expert="triage"), CATALOG)

    assert planned is not None
    assert [(s.id, s.expert, s.instruction) for s in planned.subtasks] == [("t1", "triage", "echo $${HOME}")]
    assert planned.fallbacks == {"t1": ("reply",)}


def test_a_text_that_only_its_placeholders_make_too_long_is_refused() -> None:
    with pytest.raises(TooLarge):
        planner.given(Request(text="${a} " * (MAX_TEXT // 5), expert="triage"), CATALOG)


def test_nothing_given_is_left_to_a_planner() -> None:
    assert planner.given(Request(text="Classify this message"), CATALOG) is None


@pytest.mark.parametrize("where", ["expert", "plan"])
def test_an_unknown_expert_is_named_with_those_that_are_known(where: str) -> None:
    plan = Plan.read([{"id": "a", "expert": "nobody", "instruction": "x"}])
    request = Request(text="t", plan=plan) if where == "plan" else Request(text="t", expert="nobody")
    with pytest.raises(UnknownExpert) as refusal:
        planner.given(request, CATALOG)

    assert (refusal.value.name, refusal.value.known) == ("nobody", ("reply", "triage"))


async def test_what_is_given_is_not_second_guessed_by_a_model_or_the_cache() -> None:
    plan = Plan.read([{"id": "a", "expert": "reply", "instruction": "x"}])
    planned = await a_front(never, Cache(Planned(planner="cache"))).plan(Request(text=BOTH, plan=plan), CATALOG)

    assert (planned.planner, experts(planned), planned.again) == ("given", ["reply"], False)


# -- how the answer is made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "aggregate", "settings", "becomes"),
    [
        (["a", "b"], "auto", {}, "auto"),
        (["a", "b"], "auto", {"planner": "x/y"}, "synthesis"),
        (["a", "b"], "auto", {"synthesis": "x/y"}, "synthesis"),
        (["a", "b<-a"], "auto", {"planner": "x/y"}, "auto"),
        (["a", "b"], "join", {"planner": "x/y"}, "join"),
    ],
)
def test_auto_becomes_synthesis_for_several_results_where_a_model_can_write(
    words: list[str], aggregate: Any, settings: dict[str, Any], becomes: str
) -> None:
    writes = bool(writer_of(Settings(**settings)))
    assert resolved(aggregate, a_plan(*words).subtasks, writes=writes) == becomes


def test_a_list_of_results_counts_as_several() -> None:
    each = Subtask(id="b", expert="x", instruction="${item}", for_each="a", depends_on=("a",))

    assert resolved("auto", (*a_plan("a").subtasks, each), writes=True) == "synthesis"


async def test_plans_of_callers_and_of_models_are_resolved_alike() -> None:
    plan = Plan.read(
        [{"id": "a", "expert": "reply", "instruction": "x"}, {"id": "b", "expert": "reply", "instruction": "y"}]
    )
    by_model = await a_front(says(TWO)).plan(Request(text=BOTH), CATALOG)
    given = await a_front(never).plan(Request(text=BOTH, plan=plan), CATALOG)
    directly = planner.given(Request(text=BOTH, plan=plan), CATALOG, writes=True)

    assert directly is not None
    assert by_model.aggregate == given.aggregate == directly.aggregate == "synthesis"
