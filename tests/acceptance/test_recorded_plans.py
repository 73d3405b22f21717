"""Recorded answers of real planners, run through the compiler; skipped where the data is not at hand. `-s` shows it."""

import json
from pathlib import Path

import pytest

from swarm.planner.compile.compiler import CompileRules
from swarm.planner.evaluate.compile_check import CompileReport, verdicts
from swarm.planner.evaluate.recordings import Requests

DATA = Path(__file__).parents[3] / "shared" / "data" / "plans"
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not at hand"),
    pytest.mark.timeout(300),
]


def report(family: str, *, tools: Path | None = None, graph_only: bool = False) -> CompileReport:
    requests = Requests(DATA / f"{family}.requests.jsonl", tools, graph_only=graph_only)
    found = CompileReport()
    for _, verdict in verdicts(DATA / f"{family}.outputs.jsonl", requests, CompileRules(mend_edges=True)):
        found.add(verdict)
    print(family, {name: f"{count.valid}/{count.n}" for name, count in found.models.items()}, found.categories)
    return found


@pytest.mark.parametrize(("family", "least"), [("bfcl", 4_745), ("react", 1_496), ("pog", 774)])
def test_practically_every_sound_text_becomes_a_plan(family: str, least: int) -> None:
    found = report(family, graph_only=family == "pog")

    assert (found.exceptions, found.first_exception) == (0, "")
    assert found.total.valid >= least


def test_invented_names_are_found_by_what_the_experts_do() -> None:
    found = report("taskbench", tools=DATA / "taskbench.tools.jsonl")

    assert (found.exceptions, found.first_exception) == (0, "")
    assert found.total.valid >= 808


def test_names_alone_repair_fewer_and_still_some(tmp_path: Path) -> None:
    bare = tmp_path / "tools.jsonl"
    lines = (DATA / "taskbench.tools.jsonl").read_text().splitlines()
    bare.write_text("\n".join(without_descriptions(line) for line in lines))

    assert report("taskbench", tools=bare).total.valid >= 666


def without_descriptions(line: str) -> str:
    domain = json.loads(line)
    return json.dumps({"domain": domain["domain"], "tools": [tool["id"] for tool in domain["tools"]]})
