"""Trains a head: multinomial logistic regression, then a temperature fitted on held-out rows.

Run it as `python -m experts.finetuned.head_training ROWS.csv HEAD.npz`. Everything is deterministic: the same rows
give the same bytes on the same machine, and the same weights up to rounding on any other.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from experts.finetuned import minibatch
from experts.finetuned.dataset import TrainingRow, check_labels, contradictory, read_rows
from experts.finetuned.head import Head, softmax
from experts.finetuned.head_features import Floats, Rows, counted, rarity, times, transposed, weighted
from experts.finetuned.training_report import LabelCount, TrainingReport
from swarm.errors import SwarmError

LOSS_WEIGHT = 30.0
"""Weight of a row's loss against the regularisation (scikit-learn's C)."""
STEPS = 40
SMALL = 1e-5
"""Training stops after a step that lowers the loss by less than this share."""
FOLDS = 5
MANY = 500
"""Number of rows from which one fifth is held out once; below it, each fifth in turn."""
LARGE = 100_000
"""Rows times labels from which a head is fitted in mini-batches."""
MAX_WEIGHTS = 2**22
"""Maximum columns times labels: 8 MB in half precision, within the limit of a head's file."""

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]


def train(rows: Sequence[TrainingRow]) -> Head:
    """Train a calibrated head; the order of `rows` does not matter. Raises BadInput below two labels."""
    return train_with_report(rows)[0]


def train_with_report(rows: Sequence[TrainingRow]) -> tuple[Head, TrainingReport]:
    """Train a head as `train` does, and report the accuracy on held-out rows."""
    check_labels("rows", (row.label for row in rows))
    labels = tuple(sorted({row.label for row in rows}))
    dims = _dims(len(rows), len(labels))
    logits, truth = _held_out(rows, labels, dims)
    head = _fit(rows, labels, dims, temperature=_temperature(logits, truth))
    right = truth[logits.argmax(axis=1) == truth]
    size = len(labels)
    counts = (np.bincount(found, minlength=size) for found in (_numbers(rows, labels), truth, right))
    by_label = tuple(map(LabelCount, labels, *(map(int, each) for each in counts)))
    return head, TrainingReport(by_label, crossed=_crossed(rows), contradictory=contradictory(rows))


def train_file(source: Path, target: Path) -> TrainingReport:
    """Train on the rows in `source`, and write the head atomically to `target`."""
    head, report = train_with_report(read_rows(source))
    content = head.to_bytes()
    beside = target.with_name(target.name + ".part")
    beside.write_bytes(content)
    beside.replace(target)
    return replace(report, bytes=len(content))


def _dims(rows: int, labels: int) -> int:
    """Number of columns: fewer for few rows, and within the limit of the file for many labels."""
    most = 2**13 if rows < MANY or rows * labels > LARGE else 2**15
    return int(min(most, 2 ** int(np.log2(MAX_WEIGHTS // labels))))


def _fit(rows: Sequence[TrainingRow], labels: Sequence[str], dims: int, temperature: float = 1.0) -> Head:
    counts = counted([row.text for row in rows], dims)
    rare = rarity(counts, dims).astype(np.float16).astype(np.float32)
    weights, bias = _fitted(weighted(counts, rare), _numbers(rows, labels), dims, len(labels))
    halved = (weights / temperature).astype(np.float16).astype(np.float32)
    return Head(tuple(labels), halved, (bias / temperature).astype(np.float32), rare)


def _fitted(rows: Rows, truth: NDArray[np.int64], dims: int, labels: int) -> tuple[Floats, Floats]:
    if len(truth) * labels > LARGE:
        return minibatch.fit(rows, truth, dims, labels, 1 / (LOSS_WEIGHT * len(truth)))
    return _parts(_lbfgs(_objective(rows, truth, dims, labels), dims * labels + labels), dims, labels)


def _objective(rows: Rows, truth: NDArray[np.int64], dims: int, labels: int) -> Objective:
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


def _lbfgs(objective: Objective, size: int, memory: int = 8) -> Vector:
    """Minimise a smooth convex function with L-BFGS, from zero, in at most STEPS steps."""
    point = np.zeros(size)
    value, gradient = objective(point)
    pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=memory)
    for _ in range(STEPS):
        direction = _direction(gradient, pairs)
        step, slope = 1.0, float((gradient * direction).sum())
        while True:
            moved = point - step * direction
            lower, changed = objective(moved)
            if lower <= value - 1e-4 * step * slope:
                break
            step /= 2
            if step < 1e-8:
                return point
        shift, bend = moved - point, changed - gradient
        curvature = float((shift * bend).sum())
        if curvature > 1e-10:
            pairs.append((shift, bend, curvature))
        done = value - lower < SMALL * value
        point, value, gradient = moved, lower, changed
        if done:
            break
    return point


def _direction(gradient: Vector, pairs: Sequence[tuple[Vector, Vector, float]]) -> Vector:
    """The two-loop recursion: the gradient times an estimate of the inverse Hessian."""
    direction, factors = gradient.copy(), []
    for shift, bend, curvature in reversed(pairs):
        factors.append(float((shift * direction).sum()) / curvature)
        direction -= factors[-1] * bend
    if pairs:
        _, bend, curvature = pairs[-1]
        direction *= curvature / float((bend * bend).sum())
    else:
        direction /= max(1.0, float(np.sqrt((gradient * gradient).sum())))
    for (shift, bend, curvature), factor in zip(pairs, reversed(factors), strict=True):
        direction += (factor - float((bend * direction).sum()) / curvature) * shift
    return direction


def _held_out(
    rows: Sequence[TrainingRow], labels: Sequence[str], dims: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits of held-out rows by heads fitted without them, and their true labels."""
    folds = _folds(rows)
    logits, truth = [np.zeros((0, len(labels)))], [np.zeros(0, dtype=np.int64)]
    for number in range(FOLDS if _crossed(rows) else 1):
        kept = [row for row, fold in zip(rows, folds, strict=True) if fold != number]
        if out := [row for row, fold in zip(rows, folds, strict=True) if fold == number]:
            head = _fit(kept, labels, dims)
            features = weighted(counted([row.text for row in out], dims), head.rarity)
            logits.append((times(features, head.weights) + head.bias).astype(np.float64))
            truth.append(_numbers(out, labels))
    return np.concatenate(logits), np.concatenate(truth)


def _folds(rows: Sequence[TrainingRow]) -> list[int]:
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
    return [folds[row.label, row.text] for row in rows]


def _crossed(rows: Sequence[TrainingRow]) -> bool:
    return len(rows) < MANY


def _temperature(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The temperature that calibrates the logits: the one with the least loss on held-out rows."""
    if not len(truth):
        return 1.0
    each = np.arange(len(truth))
    candidates = np.exp(np.linspace(np.log(0.25), np.log(4.0), 65))
    losses = [-np.log(np.maximum(softmax(logits / t)[each, truth], 1e-30)).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def _parts(vector: Vector, dims: int, labels: int) -> tuple[Vector, Vector]:
    return vector[: dims * labels].reshape(dims, labels), vector[dims * labels :]


def _numbers(rows: Sequence[TrainingRow], labels: Sequence[str]) -> NDArray[np.int64]:
    place = {label: number for number, label in enumerate(labels)}
    return np.array([place[row.label] for row in rows], dtype=np.int64)


def main(arguments: Sequence[str]) -> int:
    """Train from the command line. Returns 0 if a head was written, 2 for bad input."""
    if len(arguments) != 2:
        print("usage: python -m experts.finetuned.head_training ROWS.csv|ROWS.tsv|ROWS.jsonl HEAD.npz", file=sys.stderr)
        return 2
    try:
        report = train_file(Path(arguments[0]), Path(arguments[1]))
    except (SwarmError, OSError) as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n  ", file=sys.stderr)
        return 2
    print(f"{report.rows} rows, {len(report.labels)} labels, accuracy {report.summary}, {report.bytes:,} bytes")
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
