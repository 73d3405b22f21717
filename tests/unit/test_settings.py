"""What the environment may say, and what is refused at the start."""

from __future__ import annotations

import pytest

from swarm.errors import BadInput
from swarm.settings import LOCAL, Settings


@pytest.mark.parametrize("name", ["openai/gpt-6-luna", "box/org/model:7b", "my-box_2/a", "box", LOCAL])
def test_a_planner_is_a_model_of_an_endpoint_or_the_local_one(name: str) -> None:
    assert Settings.load({"SWARM_PLANNER": name}).planner == name


def test_a_writer_is_a_model_of_an_endpoint_or_none() -> None:
    assert Settings.load({"SWARM_SYNTHESIS": "box/writer"}).synthesis == "box/writer"
    assert Settings.load({"SWARM_SYNTHESIS": ""}).synthesis == ""
    assert Settings().planner == LOCAL


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        *(("SWARM_PLANNER", name) for name in ("a 9", "local", "local/plannr", "local/", "openai/", "/x", "A/c")),
        ("SWARM_PLANNER", "a/b c"),
        *(("SWARM_SYNTHESIS", name) for name in ("x.5", LOCAL, "local/template", "openai/", "x" * 100_000)),
    ],
)  # fmt: skip
def test_a_name_that_no_model_can_have_is_refused_with_the_variable_and_the_form(variable: str, name: str) -> None:
    with pytest.raises(BadInput) as refused:
        Settings.load({variable: name})

    assert refused.value.field == variable
    assert "endpoint/model" in str(refused.value)
    assert (LOCAL in refused.value.problem.partition("; ")[2]) is (variable == "SWARM_PLANNER")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if "float" in str(field.annotation)]
)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1"])
def test_no_number_may_be_endless_none_or_negative(name: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"SWARM_{name.upper()}: .*correct or unset it"):
        Settings.load({f"SWARM_{name.upper()}": value})
