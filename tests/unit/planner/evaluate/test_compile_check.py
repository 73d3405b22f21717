"""`swarm plan check`: recordings of planners, judged and counted."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from swarm.cli.commands.plan_check import check
from swarm.errors import BadInput, TooLarge
from swarm.planner.compile.compiler import CompileRules
from swarm.planner.evaluate import compile_check, recordings
from swarm.planner.evaluate.compile_check import CompileReport, check_answer, verdicts
from swarm.planner.evaluate.recordings import Requests, experts

DESK = (("Find Flight", "Finds flights to a city."), ("Book Hotel", "Books a room."), ("send.mail", "Sends a message."))
MEND = CompileRules(mend_edges=True)
app = typer.Typer()
app.command()(check)


def text(*steps: tuple[str, dict[str, Any]]) -> str:
    return json.dumps([{"expert": expert, "instruction": "do it", **more} for expert, more in steps])


def written(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def output(raw: str, request: str = "r1", model: str = "m1", **more: str) -> dict[str, str]:
    return {"model": model, "request_id": request, "raw": raw, **more}


GOOD = text(("Find Flight", {"id": "a"}), ("Book Hotel", {"depends_on": ["a"]}))
LOOSE = "Sure!\n```json\n" + text(("find_flight", {"id": "a"}), ("Book Hotel", {"depends_on": ["a", "z"]})) + "\n```"
UNKNOWN = text(("Hire Car", {}))
TOOLS = [{"name": name, "description": said} for name, said in DESK]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    outputs = written(tmp_path / "out.jsonl", [output(GOOD), output(LOOSE, model="m2"), output(UNKNOWN, model="m2")])
    requests = written(tmp_path / "req.jsonl", [{"request_id": "r1", "request": "Go", "tools": TOOLS}])
    return str(outputs), str(requests)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args, env={"COLUMNS": "200"})


# -- one text ---------------------------------------------------------------------------------------------------


def test_a_sound_text_is_valid_and_its_plan_speaks_of_the_tools_by_their_names() -> None:
    verdict = check_answer(GOOD, experts(DESK), MEND, model="m", request="r")

    assert verdict.document() == {
        "model": "m",
        "request_id": "r",
        "valid": True,
        "plan": {
            "subtasks": [
                {"id": "a", "expert": "Find Flight", "instruction": "do it"},
                {"id": "t2", "expert": "Book Hotel", "instruction": "do it", "depends_on": ["a"]},
            ],
            "aggregate": "auto",
        },
        "mends": [],
        "categories": [],
    }


def test_what_was_put_right_is_told_and_counted_by_kind() -> None:
    verdict = check_answer(LOOSE, experts(DESK), MEND)

    assert verdict.plan is not None
    assert {"mended: expert", "mended: dangling edge dropped"} < set(verdict.categories)
    assert "steps.0.expert: 'find_flight' read as Find Flight: another spelling" in verdict.document()["mends"]


@pytest.mark.parametrize(
    ("raw", "category"),
    [
        (UNKNOWN, "refused: unknown expert"),
        (text(("Find Flight", {"id": "a", "depends_on": ["b"]})), "refused: dangling edge"),
        (text(("Find Flight", {"id": "a", "depends_on": ["a"]})), "refused: self edge"),
        (
            text(("Find Flight", {"id": "a", "depends_on": ["b"]}), ("Find Flight", {"id": "b", "depends_on": ["a"]})),
            "refused: cycle",
        ),
        (
            text(*[("Find Flight", {"id": f"s{i}", "instruction": f"number {i}"}) for i in range(101)]),
            "refused: over a cap",
        ),
        (
            text(("Find Flight", {"id": "a"}), ("Book Hotel", {"id": "b", "when": {"result": "c", "equals": 1}})),
            "refused: dangling edge",
        ),
        (text(("Find Flight", {"id": "a", "output": {"type": "text", "properties": {}}})), "refused: output schema"),
        ("", "refused: empty"),
        ("I am sorry, but I cannot help with that.", "refused: refusal"),
    ],
)
def test_refusals_are_counted_by_kind(raw: str, category: str) -> None:
    verdict = check_answer(raw, experts(DESK), CompileRules())

    assert (verdict.plan, verdict.categories) == (None, (category,))
    assert verdict.document()["refusal"]


def test_a_bug_is_counted_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(compile_check, "read", broken)
    report = CompileReport()
    for _ in range(2):
        report.add(check_answer(GOOD, experts(DESK), MEND, request="r7"))

    assert (report.exceptions, report.total.valid) == (2, 0)
    assert report.first_exception == "r7: ZeroDivisionError: oops"


def test_the_report_keeps_no_more_the_more_it_sees() -> None:
    report = CompileReport()
    for i in range(compile_check.MAX_CATEGORIES + 50):
        report.add(compile_check.Verdict("m", "r", ms=i / 10, categories=(f"refused: {i}",)))

    assert len(report.categories) == compile_check.MAX_CATEGORIES + 1
    assert report.categories["other"] == 50
    assert report.ms_median == 7.4


# -- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [{"domain": "travel", "tools": [{"id": name, "desc": said} for name, said in DESK]}],
        [{"set": "travel", "name": name, "text": said} for name, said in DESK],
        [{"name": name, "description": said} for name, said in DESK],
        [{"tools": [name for name, _ in DESK]}],
        [{"tools": [{"type": "function", "function": {"name": name}} for name, _ in DESK]}],
    ],
)
@pytest.mark.parametrize("of", [({"domain": "travel"}, {}), ({}, {"set": "travel"})])
def test_experts_come_from_the_tools_file_by_domain_by_set_or_for_all(
    tmp_path: Path, rows: list[object], of: tuple[dict[str, str], dict[str, str]]
) -> None:
    tools = written(tmp_path / "tools.jsonl", rows)
    requests = written(tmp_path / "req.jsonl", [{"request_id": "r1", "request": "Go", **of[0]}])
    outputs = written(tmp_path / "out.jsonl", [output(GOOD, **of[1])])

    ((_, verdict),) = verdicts(outputs, Requests(requests, tools), MEND)

    assert verdict.plan is not None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "out.jsonl:2: no JSON; write one JSON object a line"),
        ("[]", "out.jsonl:2: no JSON object; write one JSON object a line"),
        ("\udcff", "out.jsonl:2: not UTF-8; save it as UTF-8"),
        ('{"request_id": "r9", "raw": "x"}', "out.jsonl:2: no request 'r9' in"),
        ('{"request_id": "r1"}', "out.jsonl:2: 'raw' is missing or no text; give 'raw' as text"),
        ('{"request_id": 1, "raw": "x"}', "out.jsonl:2: 'request_id' is missing or no text"),
        ("[" * 100_000, "out.jsonl:2: no JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, files: tuple[str, str], line: str, problem: str) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes((json.dumps(output(GOOD)) + "\n" + line + "\n").encode(errors="surrogateescape"))
    known = Requests(Path(files[1]))

    with pytest.raises(BadInput, match=r"out\.jsonl:2") as refused:
        list(verdicts(path, known, MEND))

    assert problem in str(refused.value)


def test_a_huge_line_is_not_read_whole(tmp_path: Path, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_LINE", 10_000)
    long = written(tmp_path / "long.jsonl", [output("x" * 20_000)])

    with pytest.raises(TooLarge, match=r"long.jsonl:1: 10,001 bytes, at most 10,000 are accepted"):
        list(verdicts(long, Requests(Path(files[1])), MEND))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"request_id": "r1", "tools": "none"}, "req.jsonl:1: 'tools' is no list, or too long"),
        ({"request_id": "r1", "tools": [{"desc": "x"}]}, "req.jsonl:1: a tool without a name"),
        ({"tools": []}, "req.jsonl:1: 'request_id' is missing or no text"),
    ],
)
def test_a_bad_request_is_named(tmp_path: Path, row: object, problem: str) -> None:
    with pytest.raises(BadInput) as refused:
        Requests(written(tmp_path / "req.jsonl", [row]))

    assert problem in str(refused.value)


def test_a_request_without_experts_asks_for_the_tools_file(tmp_path: Path) -> None:
    requests = Requests(written(tmp_path / "req.jsonl", [{"request_id": "r1", "request": "Go"}]))

    with pytest.raises(BadInput, match="no experts for request 'r1'; give --tools FILE, or --graph-only"):
        requests.experts("r1", "", "here")


# -- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_by_model_and_by_category(files: tuple[str, str]) -> None:
    result = run(files[0], "--requests", files[1])

    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if line]
    assert rows[:4] == [
        ["model", "texts", "valid", "share", "of", "them", "mended"],
        ["m1", "1", "1", "100.0%", "0"],
        ["m2", "2", "1", "50.0%", "1"],
        ["all", "3", "2", "66.7%", "1"],
    ]
    assert ["category", "texts", "m1", "m2"] in rows
    assert ["refused:", "unknown", "expert", "1", "0", "1"] in rows


def test_the_command_prints_one_json_object_of_the_promised_form(files: tuple[str, str]) -> None:
    found = json.loads(run(files[0], "--requests", files[1], "--json").stdout)

    assert list(found) == ["n", "valid", "by_model", "categories", "mended", "exceptions", "ms_median"]
    assert found["by_model"] == {"m1": {"n": 1, "valid": 1}, "m2": {"n": 2, "valid": 1}}
    assert (found["n"], found["valid"], found["mended"], found["exceptions"]) == (3, 2, 1, 0)
    assert found["categories"]["refused: unknown expert"] == 1
    assert found["ms_median"] > 0


def test_strict_counts_as_a_running_swarm_does(files: tuple[str, str]) -> None:
    strict = json.loads(run(files[0], "--requests", files[1], "--json", "--strict").stdout)

    assert (strict["valid"], strict["categories"]["refused: dangling edge"]) == (1, 1)


def test_graph_only_takes_any_expert(files: tuple[str, str]) -> None:
    found = json.loads(run(files[0], "--requests", files[1], "--json", "--graph-only").stdout)

    assert found["valid"] == 3


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("link", ["", "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("place", [0, 1])
def test_verdicts_never_go_to_a_file_that_is_read(
    files: tuple[str, str], tmp_path: Path, place: int, link: str, force: list[str]
) -> None:
    target, before = Path(files[place]), Path(files[place]).read_bytes()
    if link:
        target = tmp_path / "another.jsonl"
        getattr(target, link)(files[place])
    result = run(files[0], "--requests", files[1], "--verdicts", str(target), *force)

    assert isinstance(result.exception, BadInput)
    assert "which is read here" in str(result.exception)
    assert Path(files[place]).read_bytes() == before


def test_a_file_of_verdicts_is_overwritten_only_when_that_is_said(files: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text("mine")
    args = (files[0], "--requests", files[1], "--verdicts", str(path))
    refused = run(*args)

    assert isinstance(refused.exception, BadInput)
    assert "--force" in str(refused.exception)
    assert path.read_text() == "mine"
    assert run(*args, "--force").exit_code == 0
    assert len(path.read_text().splitlines()) == 3


def test_verdicts_are_there_whole_or_not_at_all(files: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text("former")
    with Path(files[0]).open("a") as file:
        file.write("no JSON\n")
    result = run(files[0], "--requests", files[1], "--verdicts", str(path), "--force")

    assert isinstance(result.exception, BadInput)
    assert path.read_text() == "former"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.jsonl", "req.jsonl", "verdicts.jsonl"]


def test_verdicts_can_go_to_what_is_no_file(files: tuple[str, str]) -> None:
    assert run(files[0], "--requests", files[1], "--verdicts", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_outputs_without_a_text_are_refused(files: tuple[str, str], content: str) -> None:
    Path(files[0]).write_text(content)
    result = run(files[0], "--requests", files[1])

    assert isinstance(result.exception, BadInput)
    assert "holds no texts" in str(result.exception)
    assert result.stdout == ""


def test_verdicts_go_to_a_file_a_line_each(files: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    run(files[0], "--requests", files[1], "--verdicts", str(path), "--graph-only")

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["valid"] for row in rows] == [True, True, True]
    assert rows[2]["plan"]["subtasks"][0]["expert"] == "Hire Car"


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("{dir}/none", "--requests", "{req}"), "none: cannot be read"),
        (("{out}", "--requests", "{dir}"), "cannot be read"),
        (("{out}", "--requests", "{req}", "--tools", "{dir}/none"), "none: cannot be read"),
        (("{out}", "--requests", "{req}", "--verdicts", "{dir}"), "verdicts: "),
        (("a\0b", "--requests", "{req}"), "no path"),
    ],
)
def test_a_file_that_cannot_be_used_is_bad_input(
    files: tuple[str, str], tmp_path: Path, args: tuple[str, ...], problem: str
) -> None:
    given = [arg.format(out=files[0], req=files[1], dir=tmp_path) for arg in args]

    error = run(*given).exception

    assert isinstance(error, BadInput)
    assert problem in str(error)
