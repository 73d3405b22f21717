"""Fits a head over words: multinomial logistic regression on hashed n-grams, with calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experts.finetuned import logistic
from experts.finetuned.dataset import TrainingRow
from experts.finetuned.head_features import Floats, Rows, counted, rarity, times, transposed, weighted
from experts.finetuned.held_out import MANY, Numbers, held_out, numbers_of, temperature_of
from experts.finetuned.logistic import Effort, Features
from experts.finetuned.word_head import WordHead

EFFORT = Effort(steps=40, large=100_000)
MAX_WEIGHTS = 2**22
"""Maximum columns times labels: 8 MB in half precision, within the limit of a head's file."""


def train_on_words(rows: Sequence[TrainingRow], labels: Sequence[str]) -> tuple[WordHead, Floats, Numbers]:
    """Train a calibrated head; also the logits of the rows that were held out, and the numbers of their labels."""
    dims = _dims(len(rows), len(labels))

    def logits_of(out: NDArray[np.bool_]) -> Floats:
        head = _fit(_those(rows, ~out), labels, dims)
        return head.logits([row.text for row in _those(rows, out)]).astype(np.float64)

    logits, truth = held_out(rows, labels, logits_of)
    return _fit(rows, labels, dims, temperature_of(logits, truth)), logits, truth


def _dims(rows: int, labels: int) -> int:
    """Number of columns: fewer for few rows, and within the limit of the file for many labels."""
    most = 2**13 if rows < MANY or rows * labels > EFFORT.large else 2**15
    return int(min(most, 2 ** int(np.log2(MAX_WEIGHTS // labels))))


def _fit(rows: Sequence[TrainingRow], labels: Sequence[str], dims: int, temperature: float = 1.0) -> WordHead:
    counts = counted([row.text for row in rows], dims)
    rare = rarity(counts, dims).astype(np.float16).astype(np.float32)
    features = _features(weighted(counts, rare), dims)
    weights, bias = logistic.fit(features, numbers_of(rows, labels), len(labels), EFFORT)
    halved = (weights / temperature).astype(np.float16).astype(np.float32)
    return WordHead(tuple(labels), halved, (bias / temperature).astype(np.float32), rare)


def _those(rows: Sequence[TrainingRow], which: NDArray[np.bool_]) -> list[TrainingRow]:
    return [rows[at] for at in np.flatnonzero(which).tolist()]


def _features(rows: Rows, dims: int) -> Features:
    columns = transposed(rows, dims)
    return Features(
        dims,
        times=lambda weights: times(rows, weights).astype(np.float64),
        times_transposed=lambda chances: times(columns, chances.astype(np.float32)),
        block=lambda which: rows.dense(which, dims),
    )
