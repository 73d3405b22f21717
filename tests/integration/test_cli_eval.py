"""`swarm experts eval`: an expert measured on questions with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_cli_docs import folder
from tests.integration.test_cli_jobs import Cli, cli

__all__ = ["cli", "folder"]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {"question": "Within how many days may goods be sent back?", "answer": "30 Days", "document": "returns.md"},
        {"question": "Are damaged goods replaced?", "answer": "free of charge", "document": "returns.md"},
        {"question": "Who is the king of Norway?", "answer": None},
        {"question": "Are goods replaced?"},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_answers_are_counted_and_compared_with_what_is_known(cli: Cli, folder: Path, questions: Path) -> None:
    measured = cli.json("experts", "eval", "rules", str(questions), "--catalog", str(folder))
    cli("experts", "publish", str(folder))
    printed = cli("experts", "eval", "rules", str(questions))

    counts = {
        name: measured[name] for name in ("questions", "answered", "refused", "failed", "cited", "judged", "right")
    }
    assert counts == {
        "questions": 4, "answered": 3, "refused": 1, "failed": 0, "cited": 3, "judged": 3, "right": 2,
    }  # fmt: skip
    assert [case["right"] for case in measured["cases"]] == [True, False, True, None]
    assert measured["ms"] > 0
    assert "not right: Are damaged goods replaced?" in printed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 2 is no JSON object"),
        ('{"answer": "x"}', "line 2 has no question"),
        ('{"question": "x", "answer": 3}', "line 2: answer is no text"),
    ],
)
def test_a_wrong_line_is_named(cli: Cli, folder: Path, questions: Path, line: str, said: str) -> None:
    questions.write_text('{"question": "x"}\n' + line)

    assert said in cli.error("experts", "eval", "rules", str(questions), "--catalog", str(folder), code=2)["message"]


def test_files_and_experts_that_cannot_be_measured_are_named(cli: Cli, folder: Path, questions: Path) -> None:
    (folder / "writer.md").write_text("---\nkind: instruction\ndescription: Writes.\nmodel: box/a\n---\nWrite.\n")
    catalog = ("--catalog", str(folder))

    assert (
        "writer has no local model"
        in cli.error("experts", "eval", "writer", str(questions), *catalog, code=2)["message"]
    )
    assert (
        "cannot be read"
        in cli.error("experts", "eval", "rules", str(folder / "gone.jsonl"), *catalog, code=2)["message"]
    )
