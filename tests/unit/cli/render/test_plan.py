"""A plan as a file and as a picture: what is saved is read back as it was, what is shown says what is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from swarm.cli.base import options, plan_file
from swarm.cli.render.plan import at_most, condition, lines, money, seconds
from swarm.engine.estimate import ExpertStats
from swarm.engine.plan_report import PlanReport, report, without_round
from swarm.errors import BadInput
from swarm.types.events import Planned
from swarm.types.plan import Condition, Plan, Subtask
from swarm.types.result import Mend, Usage
from tests.builders import a_plan


def a_condition(value: Any) -> Condition:
    return Condition(result="a.label", equals=value)


def readable(instruction: str, value: Any) -> Plan | None:
    """A plan with this instruction, unless no plan may hold it."""
    try:
        first = Subtask(id="a", expert="x", instruction=instruction)
        each = Subtask(id="b", expert="x", instruction="do ${item}", for_each="a.items", when=a_condition(value))
        return Plan(subtasks=(first, each, Subtask(id="c", expert="x", instruction="end", output={"type": "object"})))
    except ValidationError:
        return None


def test_a_saved_plan_is_made_to_be_edited() -> None:
    plan = readable("one\ntwo", "refund")
    assert plan is not None
    text = plan_file.as_yaml(plan)

    assert "instruction: |-\n    one\n    two\n" in text
    assert "equals: refund" in text
    assert plan_file.as_yaml(plan, "Go").startswith("request: Go\nsubtasks:\n")
    assert "null" not in text + plan_file.as_json(plan)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plan.txt", "has no known suffix"),
        ("plan", "has no known suffix"),
        ("no/such/plan.json", "no folder"),
        ("p\udce9.json", "not UTF-8"),
    ],
)
def test_a_name_to_save_under_must_be_sound(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        plan_file.writable(f"{tmp_path}/{name}", force=False)

    assert (caught.value.field, bool(caught.value.remedy)) == ("save", True)


def test_a_file_is_overwritten_only_when_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("mine")

    with pytest.raises(BadInput, match="--force"):
        plan_file.writable(str(path), force=False)
    with pytest.raises(BadInput, match="--force"):
        plan_file.save(path, a_plan("a"), force=False)
    assert path.read_text() == "mine"
    plan_file.save(plan_file.writable(str(path), force=True), a_plan("a"), force=True)
    assert Plan.read(options.plan(str(path))[0]) == a_plan("a")


def test_a_folder_is_no_file_to_save_to(tmp_path: Path) -> None:
    (tmp_path / "plan.json").mkdir()

    with pytest.raises(BadInput, match="cannot be written"):
        plan_file.save(tmp_path / "plan.json", a_plan("a"), force=True)


# -- shown


def a_report(plan: Plan, stats: dict[str, ExpertStats], **planned: Any) -> PlanReport:
    return report("j1", plan, Planned(round=1, planner="local/planner", **planned), Usage(), 0.012, stats)


def shown(found: PlanReport) -> str:
    return "\n".join("".join(p if isinstance(p, str) else p[0] for p in parts) for parts in lines(found))


def test_what_is_shown_names_experts_reasons_edges_times_and_costs() -> None:
    stats = {"x": ExpertStats(attempts=20, solved=20, calls=20, cost=8000, times={40: 20})}
    found = a_report(
        a_plan("a", "b", "c<-a,b"),
        stats,
        why={"r1.a": "it says so"},
        notes=("by words",),
        mends=(Mend(place="steps.2.expert", what="X is x"),),
    )

    assert shown(found).splitlines() == [
        "plan by local/planner in 0.012 s: 3 subtasks, up to 2 at once",
        "first, at once",
        " * a  x  do a",
        "       why   it says so",
        "       takes 0.94 s, p90 1 s, $0.0004 (20 past runs)",
        "   b  x  do b",
        "       takes 0.94 s, p90 1 s, $0.0004 (20 past runs)",
        "then",
        " * c  x  after a, b: do c",
        "       takes 0.94 s, p90 1 s, $0.0004 (20 past runs)",
        "",
        "critical path  a -> c  (marked *)",
        "takes          1.9 s, p90 at most 2 s",
        "running costs  $0.0012",
        "notes",
        "  by words",
        "mends",
        "  steps.2.expert: X is x",
    ]


def test_what_has_no_history_is_shown_as_unknown() -> None:
    text = shown(a_report(a_plan("a:new"), {}))

    assert "takes unknown: no past runs" in text
    assert "takes          unknown: no past runs of a" in text
    assert "running costs  unknown, that of a" in text
    assert "0 s" not in text.partition("\n")[2]


def test_conditions_and_items_are_shown_in_words() -> None:
    plan = readable("list them", "refund")
    assert plan is not None
    text = shown(a_report(plan, {"x": ExpertStats(attempts=9, solved=9, times={20: 9})}))

    assert 'when  a.label is "refund"; else it is skipped' in text
    assert "each  once per item of a.items" in text
    assert "per item, p90" in text
    assert "(if every condition holds and for one item of each list)" in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"equals": None}, "t is null"),
        ({"not_equals": "x"}, 't is not "x"'),
        ({"one_of": [1, "é"]}, 't is one of [1, "é"]'),
        ({"at_least": 0.5}, "t is at least 0.5"),
        ({"at_most": 3}, "t is at most 3"),
    ],
)
def test_every_comparison_has_its_words(fields: dict[str, Any], words: str) -> None:
    assert condition(Condition.model_validate({"result": "t", **fields})) == words


def test_figures_are_short() -> None:
    assert [seconds(each) for each in (0.0004, 0.0123, 1.25, 9.96, 123.4)] == [
        "0.0004 s", "0.012 s", "1.2 s", "10 s", "123 s",
    ]  # fmt: skip
    assert [money(each) for each in (None, 0, 0.5, 412, 12_345, 2_500_000)] == [
        "cost unknown", "no cost", "$0.0000005", "$0.00041", "$0.01", "$2.50",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("micro", "shown"),
    [
        (0, "$0"),
        (1, "$0.000001"),
        (41_808, "$0.0419"),
        (20_000, "$0.02"),
        (999_999, "$1.00"),
        (1_234_560_001, "$1,234.57"),
    ],
)
def test_what_something_costs_at_most_is_never_shown_as_less(micro: int, shown: str) -> None:
    assert at_most(micro) == shown


def test_a_round_is_no_part_of_a_name() -> None:
    assert [without_round(name) for name in ("r1.t1", "r12.a", "t1", "rx.t1", "a.b")] == [
        "t1", "a", "t1", "rx.t1", "a.b",
    ]  # fmt: skip
