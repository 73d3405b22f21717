"""Splits training rows into those that a head is fitted to and those that it is measured on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from experts.finetuned.dataset import TrainingRow
from experts.finetuned.head_features import Floats
from experts.finetuned.word_head import softmax

FOLDS = 5
MANY = 500
"""Number of rows from which one fifth is held out once; below it, each fifth in turn."""

Numbers = NDArray[np.int64]


def is_crossed(rows: Sequence[TrainingRow]) -> bool:
    """Whether each fifth is held out in turn."""
    return len(rows) < MANY


def folds_of(rows: Sequence[TrainingRow]) -> Numbers:
    """The fold in which each row is held out, stratified by label; equal texts share a fold.

    -1 for a label with one text: a head fitted without it could not know the label.
    """
    texts: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        texts[row.label].add(row.text)
    folds = {
        (label, text): number % FOLDS if len(own) > 1 else -1
        for label, own in texts.items()
        for number, text in enumerate(sorted(own, key=lambda text: (crc32(text.encode("utf-8", "replace")), text)))
    }
    return np.array([folds[row.label, row.text] for row in rows], dtype=np.int64)


def numbers_of(rows: Sequence[TrainingRow], labels: Sequence[str]) -> Numbers:
    """The place of each row's label in `labels`."""
    place = {label: number for number, label in enumerate(labels)}
    return np.array([place[row.label] for row in rows], dtype=np.int64)


def held_out(
    rows: Sequence[TrainingRow], labels: Sequence[str], logits_of: Callable[[NDArray[np.bool_]], Floats]
) -> tuple[Floats, Numbers]:
    """Logits of held-out rows, shape (rows held out, labels), and the numbers of their labels.

    `logits_of` is given which rows are out: it fits a head without them, and returns its logits of them.
    """
    folds, truth = folds_of(rows), numbers_of(rows, labels)
    outs = [folds == number for number in range(FOLDS if is_crossed(rows) else 1) if (folds == number).any()]
    if not outs:
        return np.zeros((0, len(labels))), truth[:0]
    return np.concatenate([logits_of(out) for out in outs]), np.concatenate([truth[out] for out in outs])


def temperature_of(logits: Floats, truth: Numbers) -> float:
    """The temperature that calibrates the logits: the one with the least loss on held-out rows."""
    if not len(truth):
        return 1.0
    each = np.arange(len(truth))
    candidates = np.exp(np.linspace(np.log(0.25), np.log(16.0), 97))
    losses = [-np.log(np.maximum(softmax(logits / t)[each, truth], 1e-30)).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])
