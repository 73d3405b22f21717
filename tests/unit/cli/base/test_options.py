"""What comes from the command line is checked before anything else happens."""

from __future__ import annotations

import inspect
import io
import json
import sys
from pathlib import Path

import pytest

from swarm.cli.base import options
from swarm.cli.commands import ask, jobs, plan
from swarm.errors import BadInput, InvalidPlan, TooLarge
from swarm.types.base import MAX_TEXT
from swarm.types.plan import Plan


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What standard input holds."""
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    return content


def fill(stdin: io.BytesIO, content: bytes) -> None:
    stdin.write(content)
    stdin.seek(0)


def test_a_request_comes_from_an_argument_a_file_or_standard_input(tmp_path: Path, stdin: io.BytesIO) -> None:
    file = tmp_path / "request.txt"
    file.write_text("\ufeffgrüße\n", encoding="utf-8")
    fill(stdin, b"from stdin\r\n")

    assert options.request_text("as it is ", None, None) == "as it is "
    assert options.request_text(None, str(file), None) == "grüße"
    assert options.request_text("-", None, None) == "from stdin"


def test_with_a_plan_the_request_may_be_left_out() -> None:
    assert options.request_text(None, None, "plan.yaml") == "the plan in plan.yaml"


@pytest.mark.parametrize(
    ("text", "file", "plan", "field"),
    [
        (None, None, None, "text"),
        ("a", "b", None, "text"),
        ("-", None, "-", "plan"),
        ("caf\udce9", None, None, "text"),
        (None, "/no/such/file", None, "text"),
        (None, "nul\0", None, "text"),
        (None, "/", None, "text"),
    ],
)
def test_a_request_that_cannot_be_read_names_field_and_remedy(
    text: str | None, file: str | None, plan: str | None, field: str
) -> None:
    with pytest.raises(BadInput) as caught:
        options.request_text(text, file, plan)

    assert caught.value.field == field
    assert caught.value.remedy


def test_standard_input_that_is_not_utf8_is_refused(stdin: io.BytesIO) -> None:
    fill(stdin, b"caf\xe9")

    with pytest.raises(BadInput, match="not UTF-8"):
        options.request_text("-", None, None)


def test_a_request_of_two_megabytes_is_refused_with_its_size(stdin: io.BytesIO) -> None:
    fill(stdin, b"x" * 2_000_000)

    with pytest.raises(TooLarge) as caught:
        options.request_text("-", None, None)

    assert (caught.value.size, caught.value.limit) == (2_000_000, MAX_TEXT)


SUBTASKS = [{"id": "a", "expert": "x", "instruction": "do"}]
YAML = "aggregate: join\nsubtasks:\n  - {id: a, expert: x, instruction: do}\n"


@pytest.mark.parametrize(("name", "content"), [("p.json", json.dumps(SUBTASKS)), ("p.yml", YAML), ("p", YAML)])
def test_a_plan_is_json_or_yaml(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)

    assert [s.id for s in Plan.read(options.plan(str(tmp_path / name))[0]).subtasks] == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        '{"subtasks": [}',
        "[1" + "0" * 5_000 + "]",
        "[" * 100_000,
        "subtasks: [a: b: c]",
        "&a [*a]",
        "a: &x [1]\nb: *x",
        "!!python/object/apply:os.system [true]",
        "- !unknown x",
        "\x01",
    ],
)
def test_a_file_that_holds_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "plan"
    file.write_text(content)

    with pytest.raises(InvalidPlan) as caught:
        options.plan(str(file))

    assert caught.value.remedy


@pytest.mark.parametrize(
    ("more", "place", "remedy"),
    [
        ({"when": "a.label is refund"}, "subtasks.1.when is no condition", "{result: t1.label, equals: refund}"),
        ({"when": {"result": "a.label"}}, "subtasks.1.when must have exactly one comparison", "at_least"),
        ({"when": {"result": "a.n", "at_least": 1, "at_most": 2}}, "subtasks.1.when", "{result: "),
        ({"when": {"result": "${a.label}", "equals": 1}}, "subtasks.1.when.result", "write a.label"),
        ({"for_each": "${a.items}"}, "subtasks.1.for_each", "write a.items"),
        ({"for_each": ["a"]}, "subtasks.1.for_each is no name", "t1.items"),
        ({"when": {"result": "z.label", "equals": 1}}, "when of subtask 'b' asks for 'z.label'", "correct the plan"),
        ({"for_each": "z.items"}, "for_each of subtask 'b' is 'z.items'", "correct the plan"),
        ({"dependson": ["a"]}, "subtasks.1.dependson: unknown field", "did you mean 'depends_on'?"),
        ({"when": {"result": "a.n", "equal": 1}}, "subtasks.1.when.equal: unknown field", "did you mean 'equals'?"),
        ({"colour": "red"}, "subtasks.1.colour: unknown field", "correct its name"),
        ({"instruction": "do ${item.name}"}, "subtask 'b' uses ${item.name}", "for_each"),
    ],
)
def test_a_condition_or_a_list_that_is_wrong_tells_its_place_and_how_it_is_written(
    tmp_path: Path, more: dict[str, object], place: str, remedy: str
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps([*SUBTASKS, {"id": "b", "expert": "x", "instruction": "do", **more}]))

    with pytest.raises(InvalidPlan) as caught:
        Plan.read(options.plan(str(file))[0])
    assert place in str(caught.value)
    assert remedy in str(caught.value)


def test_a_plan_brings_the_request_it_was_made_for_unless_another_is_given(tmp_path: Path) -> None:
    file = str(tmp_path / "plan.yaml")
    Path(file).write_text("request: Go home\n" + YAML)

    text, whole = options.request(None, None, file)
    assert (text, Plan.read(whole).aggregate) == ("Go home", "join")
    assert options.request("Stay", None, file)[0] == "Stay"
    Path(file).write_text(YAML)
    assert options.request(None, None, file)[0] == f"the plan in {file}"
    assert options.request("Stay", None, None) == ("Stay", None)


def test_a_saved_request_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("request: [1]\n" + YAML)

    with pytest.raises(InvalidPlan, match="request is no text"):
        options.request("Stay", None, str(tmp_path / "plan.yaml"))


def test_times_are_written_as_people_do() -> None:
    assert [options.seconds("t", text) for text in ("30s", "2m", "500ms", "1.5", None)] == [30.0, 120.0, 0.5, 1.5, None]


@pytest.mark.parametrize("text", ["soon", "", "-1", "1e9999", "3 weeks", "caf\udce9"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is no time"):
        options.seconds("deadline", text)


@pytest.mark.parametrize("text", ["", "a b", "ü", "x" * 65, "a:b", "caf\udce9", "*"])
def test_what_is_no_job_id_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="no job id"):
        options.job_id(text)


def test_ask_submit_and_plan_take_the_same_request() -> None:
    alone = {"attempts", "replans", "busy_timeout"}
    every = {name: option.default for name, option in inspect.signature(ask.options).parameters.items()}
    of_plans = {name: default for name, default in every.items() if name not in alone}
    for verb, wanted in ((ask.ask, every), (jobs.submit, every), (plan.plan, of_plans)):
        taken = {name: option.default for name, option in inspect.signature(verb, eval_str=True).parameters.items()}
        assert list(taken.items())[: len(wanted)] == list(wanted.items())
        assert not alone & set(inspect.signature(plan.plan).parameters)
