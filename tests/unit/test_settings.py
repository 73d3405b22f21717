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


NUMBERS = {
    "slots": "a whole number, 1 to 10000",
    "router_slots": "a whole number, 1 to 1000",
    "lease": "a number of seconds, 0.3 to 300",
    "drain": "a number of seconds, 0 to 3600",
    "replans": "a whole number, 0 to 5",
    "plan_timeout": "a number of seconds, more than 0, at most 280",
    "plan_first_step": "a number of seconds, 0 to 280",
    "max_subtasks": "a whole number, 1 to 1000",
    "max_depth": "a whole number, 1 to 1000",
    "max_items": "a whole number, 1 to 1000",
    "tenant_budget": "a number of US dollars, at least 0",
    "day_budget": "a number of US dollars, at least 0",
    "max_output": "a whole number of tokens, at least 1",
    "answer_tokens": "a whole number of tokens, at least 0",
    "schema_tokens": "a whole number of tokens, at least 0",
    "plan_tokens": "a whole number of tokens, at least 0",
    "ask_depth": "a whole number, 0 to 10",
    "window": "a whole number, 1 to 1000",
    "max_age": "a number of seconds, more than 0, at most 604800",
    "retention": "a number of seconds, more than 0, at most 2592000",
    "max_open": "a whole number, at least 1",
    "max_open_tenant": "a whole number, at least 1",
    "retry_after": "a number of seconds, more than 0",
    "max_request": "a whole number of bytes, at least 1000",
    "max_results": "a whole number of bytes, at least 1000",
    "max_results_tenant": "a whole number of bytes, at least 1000",
    "max_answer": "a whole number of bytes, at least 1000",
}
WORDS = {
    "skip": "true or false",
    "plan_cache": "true or false",
    "plan_meaning": "true or false",
    "mend_edges": "true or false",
    "log_contents": "true or false",
    "unpriced": "refuse or count",
    "durable": "true, false or disk",
}
TEXTS = {"redis_url", "prefix", "data", "planner", "synthesis"}


def test_every_setting_is_tried_here() -> None:
    assert NUMBERS.keys() | WORDS.keys() | TEXTS == set(Settings.model_fields)


def refusal(variable: str, value: str) -> str:
    """What is said of a value; nothing of one that is accepted."""
    try:
        Settings.load({variable: value})
    except BadInput as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "5s", "1,5", "x" * 9_000])
def test_what_a_setting_must_be_is_said_with_its_unit_and_range(value: str) -> None:
    said = {name: refusal(f"SWARM_{name.upper()}", value) for name in NUMBERS | WORDS}

    expected = {
        name: f"SWARM_{name.upper()}: must be {form}, not {value[:40]!r}; correct or unset it"
        for name, form in (NUMBERS | WORDS).items()
    }
    assert {name: text[: len(expected[name])] for name, text in said.items()} == expected


def test_the_default_that_a_refusal_offers_can_be_given() -> None:
    defaults = {name: Settings.model_fields[name].default for name in NUMBERS | WORDS}
    refusals = {name: refusal(f"SWARM_{name.upper()}", "5s") for name, value in defaults.items() if value is not None}
    offered = {name: text.rpartition("(default ")[2].removesuffix(")") for name, text in refusals.items()}
    given = {name: getattr(Settings.load({f"SWARM_{name.upper()}": text}), name) for name, text in offered.items()}

    assert given == {name: defaults[name] for name in offered}


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_an_empty_variable_counts_as_unset(value: str) -> None:
    loaded = {name: Settings.load({f"SWARM_{name.upper()}": value}) for name in Settings.model_fields}

    assert {name: settings for name, settings in loaded.items() if settings != Settings()} == {}


def test_a_prefix_is_said_in_words() -> None:
    with pytest.raises(BadInput, match="SWARM_PREFIX: must be 1 to 64 of A-Z a-z 0-9 _ -, not 'a b'"):
        Settings.load({"SWARM_PREFIX": "a b"})
