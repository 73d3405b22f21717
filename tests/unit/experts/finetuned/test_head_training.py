"""Training a head: folds, small batches, and the command."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from experts.finetuned import minibatch
from experts.finetuned.dataset import TrainingRow
from experts.finetuned.head import read_head
from experts.finetuned.head_features import counted, rarity, times, weighted
from experts.finetuned.head_training import train_file, train_with_report
from experts.finetuned.held_out import folds_of, numbers_of
from swarm.errors import BadInput
from tests.unit.experts.finetuned.rows import ROWS, rows_file


def test_the_report_is_of_rows_held_out() -> None:
    _, report = train_with_report(ROWS)

    assert report.rows == report.held_out == len(ROWS)
    assert report.accuracy > 0.8


def test_equal_texts_are_held_out_together() -> None:
    rows = [TrainingRow(f"{label} {i // 4}", label) for label in ("x", "y") for i in range(40)]

    assert all(len({fold for row, fold in zip(rows, folds_of(rows), strict=True) if row == one}) == 1 for one in rows)


def test_a_text_with_several_labels_is_told_with_its_lines(tmp_path: Path) -> None:
    several = 'text,label\nwhere is it,delivery\nwhere  is it,refund\n"two\nlines",refund\nwhere is it,refund\n'
    more = "".join(f"{label} {n},{label}\n" for label in ("delivery", "refund") for n in range(9))
    twice = "".join(f"text {n},{label}\n" for label in ("delivery", "refund") for n in range(11))
    few = train_file(rows_file(tmp_path, several + more), tmp_path / "few.npz")
    many = train_file(rows_file(tmp_path, several + more + twice), tmp_path / "many.npz")

    told = "the text 'where is it' has the labels 'delivery' in line 2 and 'refund' in line 3: keep the right one"
    assert [warning for warning in few.warnings if "in line" in warning] == [told]
    assert told in many.warnings
    assert many.warnings[-1] == "2 more texts have several labels"


def test_small_batches_learn_what_the_exact_method_learns() -> None:
    labels, truth = ("account", "delivery", "payment"), numbers_of(ROWS, ("account", "delivery", "payment"))
    counts = counted([row.text for row in ROWS], 2**10)
    rows = weighted(counts, rarity(counts, 2**10))
    block = partial(rows.dense, dims=2**10)
    weights, bias = minibatch.fit(block, truth, 2**10, len(labels), 1e-3)

    assert np.array_equal((times(rows, weights) + bias).argmax(axis=1), truth)
    assert np.array_equal(minibatch.fit(block, truth, 2**10, len(labels), 1e-3)[0], weights)


def test_a_head_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    source, target = rows_file(tmp_path, "text,label\nhello there,x\ngood bye,y\n"), tmp_path / "h.npz"

    assert train_file(source, target).bytes == target.stat().st_size
    assert read_head(target.read_bytes()).labels == ("x", "y")
    with pytest.raises(BadInput, match=r"gone\.csv: cannot be read"):
        train_file(tmp_path / "gone.csv", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.npz", "rows.csv"]
