"""Requests and plans that cannot be used are refused clearly; edges and references of those that can."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from swarm.errors import InvalidPlan
from swarm.types.base import explain
from swarm.types.plan import MAX_SUBTASKS, Plan, Subtask, referenced
from swarm.types.request import Request
from tests.builders import a_plan

# -- bad requests


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Request.model_validate(fields)
    return explain(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "text: empty; say what is wanted"),
        (" \n\t ", "text: empty; say what is wanted"),
        ("x" * 2_000_000, "text: 2,000,000 bytes, at most 1,000,000 are accepted; shorten or split it"),
        ("é" * 600_000, "text: 1,200,000 bytes, at most 1,000,000 are accepted; shorten or split it"),
        ("a\ud800b", "text: not valid Unicode; send UTF-8 text"),
        (b"\xff\xfe", "text: not valid Unicode; send UTF-8 text"),
        ("a\x00b", "text: control character U+0000 at position 1; remove it"),
        ("\x1b[2J", "text: control character U+001B at position 0; remove it"),
        ("a\x7f", "text: control character U+007F at position 1; remove it"),
    ],
    ids=["empty", "whitespace", "2 MB", "2 bytes each", "surrogate", "not UTF-8", "NUL", "escape", "delete"],
)
def test_a_text_that_cannot_be_used_is_refused_with_the_remedy(text: str | bytes, said: str) -> None:
    assert refusal(text=text) == said


@pytest.mark.parametrize("text", ["Zeile 1\nZeile 2\tSpalte\r\n", "Größe 大 👩‍🚀", "x" * 1_000_000])
def test_ordinary_text_is_accepted_as_it_is(text: str) -> None:
    assert Request(text=text).text == text


@pytest.mark.parametrize(
    "fields",
    [
        {"expert": "No Such"},
        {"tenant": "a b"},
        {"deadline": 0},
        {"deadline": float("nan")},
        {"max_age": -1},
        {"attempts": 0},
        {"plan": {"subtasks": []}},
    ],
    ids=repr,
)
def test_a_refusal_names_the_field(fields: Mapping[str, Any]) -> None:
    assert refusal(text="hello", **fields).startswith(next(iter(fields)))


def test_an_expert_and_a_plan_exclude_each_other() -> None:
    said = refusal(text="hello", expert="x", plan=a_plan("a"))

    assert said == "expert and plan exclude each other; give one of them"


def test_a_missing_field_is_told() -> None:
    assert refusal(txet="hello") == "text: missing; add it; txet: unknown field; remove it or correct its name"


def test_a_refusal_is_short_however_much_is_wrong() -> None:
    said = refusal(text="hello", plan=[{"id": f"no good {number}"} for number in range(900)])

    assert len(said) < 500


def test_a_refusal_does_not_repeat_the_input() -> None:
    assert "hunter2" not in refusal(text="hunter2\x00", attempts="hunter2")


# -- bad plans


def subtask(id: str, *after: str, instruction: str = "do it", **more: object) -> dict[str, object]:
    return {"id": id, "expert": "x", "instruction": instruction, "depends_on": list(after), **more}


def chain(count: int) -> list[dict[str, object]]:
    return [subtask("t0"), *(subtask(f"t{number}", f"t{number - 1}") for number in range(1, count))]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([subtask("a", "b"), subtask("b", "a")], "circular dependency a -> b -> a; remove one of these edges"),
        ([subtask("a", "a")], "circular dependency a -> a; remove one of these edges"),
        (
            [subtask("a", instruction="see ${b}"), subtask("b", "a")],
            "circular dependency a -> b -> a; remove one of these edges",
        ),
        ([subtask("a", "q")], "subtask 'a' depends on 'q', which is no subtask of the plan"),
        ([subtask("a", instruction="see ${q.x}")], "subtask 'a' uses ${q.x}, which is no subtask of the plan"),
        ([subtask("a"), subtask("a")], "subtask id 'a' is used more than once; give each its own"),
        ([subtask(f"t{number}") for number in range(10_000)], "10,000 subtasks, at most 1,000 are accepted"),
        ([], "subtasks: at least 1 must be given; add one"),
        ({"subtask": []}, "subtasks: missing; add it"),
        ([subtask("a", instruction=" ")], "subtasks.0.instruction: empty; say what is wanted"),
        ([subtask("a", instruction="\ud800")], "subtasks.0.instruction: not valid Unicode; send UTF-8 text"),
        ([subtask("a", "\ud800")], "subtasks.0.depends_on.0: not valid Unicode; send UTF-8 text"),
        ([subtask("a", experts="x")], "subtasks.0.experts: unknown field; remove it or correct its name"),
        ([subtask("a b")], "subtasks.0.id: String should match pattern"),
        ([subtask("a", timeout="2s")], "subtasks.0.timeout: '2s' is no number; give seconds, such as 2 or 0.5"),
        ([subtask("a"), 5], "subtasks.1: Input should be a valid dictionary"),
        ("a, then b", "Input should be a valid dictionary"),
        (None, "Input should be a valid dictionary"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_plan_that_cannot_run_is_refused_with_the_place_and_the_remedy(given: object, said: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        Plan.read(given)

    assert str(caught.value).startswith(f"plan: {said}")
    assert str(caught.value).endswith(("; correct the plan and submit it again", "; split the plan"))
    assert caught.value.field == "plan"


def test_a_request_with_too_many_subtasks_is_refused_too() -> None:
    said = refusal(text="hello", plan={"subtasks": [subtask(f"t{number}") for number in range(10_000)]})

    assert said == "plan.subtasks: at most 1,000 are accepted; split it"


def test_a_chain_as_long_as_a_plan_may_be_is_accepted() -> None:
    assert len(Plan.read(chain(MAX_SUBTASKS)).subtasks) == MAX_SUBTASKS


def test_a_long_cycle_is_found_without_recursion_and_told_briefly() -> None:
    looped = chain(MAX_SUBTASKS)
    looped[0] = subtask("t0", "t999")

    with pytest.raises(InvalidPlan, match="circular dependency t0 -> t999") as caught:
        Plan.read(looped)
    assert len(str(caught.value)) < 300


def test_a_plan_may_be_given_as_a_bare_list() -> None:
    assert Plan.read([subtask("a")]) == Plan.read({"subtasks": [subtask("a")]})


# -- edges and references


def test_edges_are_those_declared_and_those_used() -> None:
    plan = Plan.read([subtask("a"), subtask("b"), subtask("c", "b", instruction="compare ${a.price} with ${b}")])

    assert plan.edges == {"a": (), "b": (), "c": ("b", "a")}
    assert plan.united()[2].depends_on == ("b", "a")


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("nothing", ()),
        ("${a}", ("a",)),
        ("${b.x} and ${a}, then ${b.x} again", ("b.x", "a")),
        ("${r1.a.label.name}", ("r1.a.label.name",)),
        ("costs $5, {a}, $a, ${}, ${a b}, ${.a}, $ {a}", ()),
    ],
)
def test_references_are_named_in_order_and_once(instruction: str, expected: tuple[str, ...]) -> None:
    assert Subtask(id="z", expert="x", instruction=instruction).references == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a", ("a", ())),
        ("a.label", ("a", ("label",))),
        ("a.label.name", ("a", ("label", "name"))),
        ("r1.a", ("r1.a", ())),
        ("r1.a.label", ("r1.a", ("label",))),
        ("r1", None),
        ("r1.b", None),
        ("q.label", None),
    ],
)
def test_a_reference_is_split_into_a_subtask_and_a_path(
    reference: str, expected: tuple[str, tuple[str, ...]] | None
) -> None:
    assert referenced(reference, ["a", "r1.a"]) == expected


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"not": found}
    return found


SHARED: list[Any] = ["x"]
for _ in range(40):
    SHARED = [SHARED, SHARED]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (deep(51), "nested more than 50 levels deep; flatten it"),
        (deep(300), "nested more than 50 levels deep; flatten it"),
        ({"a": object()}, "a Python object; use plain JSON only"),
        ({"a": float("nan")}, "a number that is not finite; use plain JSON only"),
        ({"a": 10**5000}, "a number that is too long; write it as text"),
        ({"a": {1: 2}}, "a key that is no text; use plain JSON only"),
        ({"enum": ["\ud800"]}, "not valid Unicode; send UTF-8 text"),
        ({"\ud800": 1}, "not valid Unicode; send UTF-8 text"),
        ({"enum": SHARED}, "more than 100,000 values; shorten it"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_an_output_that_cannot_travel_is_refused_with_the_remedy(output: object, said: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        Plan.read([subtask("a", output=output)])

    assert str(caught.value) == f"plan: subtasks.0.output: {said}; correct the plan and submit it again"


def test_an_output_as_deep_as_may_be_travels() -> None:
    plan = Plan.read([subtask("a", output=deep(50))])

    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_name_that_no_tenant_has_is_refused_with_what_it_may_be() -> None:
    with pytest.raises(ValidationError, match=r"'a b' is no tenant; use 1 to 64 of A-Z a-z 0-9 \. _ @ -"):
        Request(text="go", tenant="a b")
