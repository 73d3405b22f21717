"""Heads trained on hundreds of rows: what the report says of rows held out, and the memory that it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import experts
from experts.finetuned.dataset import TrainingRow, read_rows
from experts.finetuned.head import read_head
from experts.finetuned.head_file import MAX_FILE
from experts.finetuned.head_training import train, train_file, train_with_report
from experts.finetuned.word_head import WordHead
from tests.unit.experts.finetuned.rows import rows_file

DEMO = Path(experts.__file__).parent / "demo"


def test_labels_that_are_written_in_two_ways_are_told() -> None:
    rows = [
        TrainingRow(f"{label} {n}", label) for label in ("1", "1.0", "Refund", "refund", "other") for n in range(20)
    ]
    report = train_with_report(rows)[1]

    assert report.alike == (("1", "1.0"), ("Refund", "refund"))
    assert report.warnings[-1].startswith("the labels 'Refund' and 'refund' are learnt as different labels")


@pytest.mark.parametrize("many", [False, True])
def test_rows_are_held_out_of_every_label_and_rare_ones_are_named(many: bool) -> None:
    sizes = {"common": 700 if many else 60, "rare": 6, "pair": 2, "single": 1}
    rows = [TrainingRow(f"{label} thing {i}", label) for label, size in sizes.items() for i in range(size)]
    report = train_with_report(rows)[1]
    held_out = {each.label: each.held_out for each in report.by_label}

    assert {each.label: each.rows for each in report.by_label} == sizes
    assert held_out == (
        {"common": 140, "rare": 2, "pair": 1, "single": 0}
        if many
        else {"common": 60, "rare": 6, "pair": 2, "single": 0}
    )
    assert report.warnings[-1].startswith("the accuracy says little about 'single' (rows: 1, held out: 0)")
    assert ("'rare'" in report.warnings[-1]) is many
    assert train_with_report(rows[::-1])[1] == report


def test_a_head_that_is_no_better_than_a_guess_is_called_so(tmp_path: Path) -> None:
    # the words say nothing of the label
    rows = "".join(f"word{i} only{i},{'x' if i % 4 else 'y'}\n" for i in range(60))
    source, target = rows_file(tmp_path, "text,label\n" + rows), tmp_path / "h.npz"
    report = train_file(source, target)

    assert (report.crossed, report.held_out, report.commonest) == (True, 60, 0.75)
    assert report.accuracy <= 0.75
    (warning,) = report.warnings
    assert warning == "no better than always guessing the most common label, which is right for 75.0%"


def test_a_head_that_has_learnt_is_told_without_a_warning() -> None:
    rows = [TrainingRow(f"{word} number {i}", word) for i in range(300) for word in ("late", "broken")]
    report = train_with_report(rows)[1]

    assert (report.crossed, report.warnings, report.held_out) == (False, (), 120)
    assert report.summary == "100.0%, of 120 rows held out, 60 of each label"


def test_many_labels_are_learnt_within_little_memory() -> None:
    """A process of its own, since the peak of a process is never lowered."""
    code = (
        "import resource\n"
        "from experts.finetuned import minibatch\n"
        "from experts.finetuned.dataset import TrainingRow\n"
        "from experts.finetuned.head_training import train, train_with_report\n"
        "rows = [TrainingRow(f'about thing{i} number {j}', f'label{i}') for i in range(1000) for j in range(2)]\n"
        "minibatch.EPOCHS = 3\n"
        "head, report = train_with_report(rows)\n"
        "print(report.accuracy, len(head.to_bytes()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    environ = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # threads that spin take long on a busy machine
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ)
    accuracy, size, megabytes = map(float, done.stdout.split())

    assert accuracy > 0.9
    assert size < MAX_FILE
    assert megabytes < 600


def test_the_head_that_ships_is_what_training_gives() -> None:
    rows = read_rows(DEMO / "triage.csv")
    shipped, trained = read_head((DEMO / "triage.head.npz").read_bytes()), train(rows)
    assert isinstance(shipped, WordHead)
    assert isinstance(trained, WordHead)
    texts = [row.text for row in rows]

    assert shipped.labels == trained.labels
    # Equal bytes on equal machines; on others the last digits of sums differ.
    assert np.allclose(shipped.probabilities(texts), trained.probabilities(texts), atol=0.02)
