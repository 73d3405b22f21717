"""Fits a head over words: multinomial logistic regression on hashed n-grams, with calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experts.finetuned import minibatch
from experts.finetuned.dataset import TrainingRow
from experts.finetuned.head_features import Floats, Rows, counted, rarity, times, transposed, weighted
from experts.finetuned.held_out import FOLDS, MANY, Numbers, folds_of, is_crossed, numbers_of, temperature_of
from experts.finetuned.lbfgs import Objective, Vector, minimise
from experts.finetuned.word_head import WordHead, softmax

LOSS_WEIGHT = 30.0
"""Weight of a row's loss against the regularisation (scikit-learn's C)."""
STEPS = 40
LARGE = 100_000
"""Rows times labels from which a head is fitted in mini-batches."""
MAX_WEIGHTS = 2**22
"""Maximum columns times labels: 8 MB in half precision, within the limit of a head's file."""


def train_on_words(rows: Sequence[TrainingRow], labels: Sequence[str]) -> tuple[WordHead, Floats, Numbers]:
    """Train a calibrated head; also the logits of the rows that were held out, and the numbers of their labels."""
    dims = _dims(len(rows), len(labels))
    logits, truth = _held_out(rows, labels, dims)
    return _fit(rows, labels, dims, temperature_of(logits, truth)), logits, truth


def _dims(rows: int, labels: int) -> int:
    """Number of columns: fewer for few rows, and within the limit of the file for many labels."""
    most = 2**13 if rows < MANY or rows * labels > LARGE else 2**15
    return int(min(most, 2 ** int(np.log2(MAX_WEIGHTS // labels))))


def _held_out(rows: Sequence[TrainingRow], labels: Sequence[str], dims: int) -> tuple[Floats, Numbers]:
    """Logits of held-out rows by heads fitted without them, and their true labels."""
    folds, truth = folds_of(rows), numbers_of(rows, labels)
    logits, found = [np.zeros((0, len(labels)))], [truth[:0]]
    for number in range(FOLDS if is_crossed(rows) else 1):
        if len(out := np.flatnonzero(folds == number)):
            head = _fit([rows[at] for at in np.flatnonzero(folds != number).tolist()], labels, dims)
            logits.append(head.logits([rows[at].text for at in out.tolist()]).astype(np.float64))
            found.append(truth[out])
    return np.concatenate(logits), np.concatenate(found)


def _fit(rows: Sequence[TrainingRow], labels: Sequence[str], dims: int, temperature: float = 1.0) -> WordHead:
    counts = counted([row.text for row in rows], dims)
    rare = rarity(counts, dims).astype(np.float16).astype(np.float32)
    weights, bias = _fitted(weighted(counts, rare), numbers_of(rows, labels), dims, len(labels))
    halved = (weights / temperature).astype(np.float16).astype(np.float32)
    return WordHead(tuple(labels), halved, (bias / temperature).astype(np.float32), rare)


def _fitted(rows: Rows, truth: Numbers, dims: int, labels: int) -> tuple[Floats, Floats]:
    if len(truth) * labels > LARGE:
        decay = 1 / (LOSS_WEIGHT * len(truth))
        return minibatch.fit(lambda which: rows.dense(which, dims), truth, dims, labels, decay)
    return _parts(minimise(_objective(rows, truth, dims, labels), dims * labels + labels, STEPS), dims, labels)


def _objective(rows: Rows, truth: Numbers, dims: int, labels: int) -> Objective:
    """Loss and gradient of weights and bias in one vector; the bias is not regularised."""
    columns, each = transposed(rows, dims), np.arange(len(truth))

    def loss(vector: Vector) -> tuple[float, Vector]:
        weights, bias = _parts(vector, dims, labels)
        chances = softmax(times(rows, weights.astype(np.float32)) + bias).astype(np.float64)
        missed = -np.log(np.maximum(chances[each, truth], 1e-30)).sum()
        chances[each, truth] -= 1.0
        slope = times(columns, chances.astype(np.float32)).astype(np.float64) * LOSS_WEIGHT + weights
        gradient = np.concatenate([slope.ravel(), chances.sum(axis=0) * LOSS_WEIGHT])
        return float(LOSS_WEIGHT * missed + 0.5 * (weights * weights).sum()), gradient

    return loss


def _parts(vector: Vector, dims: int, labels: int) -> tuple[Vector, Vector]:
    return vector[: dims * labels].reshape(dims, labels), vector[dims * labels :]
