"""Fits a head over the vectors of an encoder, and its confidence on rows and labels that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from experts.finetuned import confidence, logistic
from experts.finetuned.dataset import TrainingRow
from experts.finetuned.head_features import Floats
from experts.finetuned.held_out import FOLDS, Numbers, folds_of, held_out, is_crossed, numbers_of, temperature_of
from experts.finetuned.logistic import Effort, Features
from experts.finetuned.vector_head import NearestExamples, VectorHead

EFFORT = Effort(steps=80, large=2_000_000)
"""With 40 steps, Banking77 is right for 0.7 points less."""
MAX_EXAMPLE_BYTES = 4_000_000
"""What the examples in a head's file may take; of more, an equal number per label is kept."""
MAX_UNKNOWN = 2_000
"""Texts out of scope that the confidence is fitted on."""
_ROUNDS_OF_MANY = 2
_UNSURE = confidence.Confidence(np.zeros(3, np.float32), np.ones(3, np.float32), np.zeros(4, np.float32))
"""For a head without any row to measure it on: 50 % for whatever it says."""


def train_on_vectors(
    rows: Sequence[TrainingRow], vectors: Floats, labels: Sequence[str], encoder: str, unknown: Floats
) -> tuple[VectorHead, Floats, Numbers]:
    """Train a head; also the logits of the rows that were held out, and the numbers of their labels.

    `vectors`, shape (rows, dimension), are those of the rows, made by the encoder with the identity `encoder`;
    `unknown`, shape (texts, dimension), those of texts that have none of the labels, possibly none.
    """
    truth, folds = numbers_of(rows, labels), folds_of(rows)

    def logits_of(out: NDArray[np.bool_]) -> Floats:
        return _fit(vectors[~out], truth[~out], labels, "").logits(vectors[out])[0]

    logits, found = held_out(rows, labels, logits_of)
    trust = _confidence(vectors, truth, folds, labels, unknown[:MAX_UNKNOWN], crossed=is_crossed(rows))
    head = _fit(vectors, truth, labels, encoder, temperature_of(logits, found), trust)
    return head, logits, found


def _confidence(
    vectors: Floats, truth: Numbers, folds: Numbers, labels: Sequence[str], unknown: Floats, *, crossed: bool
) -> confidence.Confidence:
    """Fit the confidence on held-out rows, on rows of labels that were left out, and on texts out of scope."""
    measured = list(_measured(vectors, truth, folds, labels, unknown, FOLDS if crossed else _ROUNDS_OF_MANY))
    if not measured:
        return _UNSURE
    found, right = (np.concatenate(each) for each in zip(*measured, strict=True))
    return confidence.fit(found, right)


def _measured(
    vectors: Floats, truth: Numbers, folds: Numbers, labels: Sequence[str], unknown: Floats, rounds: int
) -> Iterator[tuple[Floats, Floats]]:
    """For each round, the facts about rows that a head did not see, and whether its first label was right.

    In each round another fifth of the rows is held out, and another fifth of the labels left out, as long as two
    labels remain.
    """
    group = np.empty(len(labels), np.int64)
    group[sorted(range(len(labels)), key=lambda at: (crc32(labels[at].encode()), at))] = np.arange(len(labels)) % FOLDS
    for number in range(rounds):
        known = group != number if (group != number).sum() >= 2 else np.ones(len(labels), bool)
        out = folds == number
        kept = ~out & known[truth]
        if not out.any() or not known[truth[~out]].any():
            continue
        names = [label for label, stays in zip(labels, known, strict=True) if stays]
        place = np.where(known, np.cumsum(known) - 1, -1)
        head = _fit(vectors[kept], place[truth[kept]], names, "")
        asked = np.concatenate([vectors[out], unknown])
        logits, linear, nearest = head.logits(asked)
        wanted = np.concatenate([place[truth[out]], np.full(len(unknown), -1)])
        yield confidence.facts(logits, linear, nearest), logits.argmax(axis=1) == wanted


def _fit(
    vectors: Floats,
    truth: Numbers,
    labels: Sequence[str],
    encoder: str,
    temperature: float = 1.0,
    trust: confidence.Confidence = _UNSURE,
) -> VectorHead:
    weights, bias = logistic.fit(_features(vectors), truth, len(labels), EFFORT)
    halved = weights.astype(np.float16).astype(np.float32)
    examples = _examples(vectors, truth, len(labels))
    return VectorHead(tuple(labels), encoder, halved, bias.astype(np.float32), examples, temperature, trust)


def _features(vectors: Floats) -> Features:
    return Features(
        vectors.shape[1],
        times=lambda weights: vectors @ weights,
        times_transposed=lambda chances: vectors.T @ chances,
        block=lambda which: vectors[which],
    )


def _examples(vectors: Floats, truth: Numbers, labels: int) -> NearestExamples:
    """The examples of each label, the same number of each where there are more than the file may hold."""
    most = max(labels, MAX_EXAMPLE_BYTES // vectors.shape[1])
    counts = np.bincount(truth, minlength=labels)
    each = int(counts.max())
    while np.minimum(counts, each).sum() > most and each > 1:
        each -= max(1, each // 50)
    order = np.argsort(truth, kind="stable")
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = order[rank < each]
    sizes = np.minimum(counts, each)
    return NearestExamples(np.ascontiguousarray(vectors[kept], np.float32), (np.cumsum(sizes) - sizes).astype(np.int64))
