"""Multinomial logistic regression over any features: exact for few rows, in mini-batches for many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experts.finetuned import minibatch
from experts.finetuned.head_features import Floats
from experts.finetuned.held_out import Numbers
from experts.finetuned.lbfgs import Objective, Vector, minimise
from experts.finetuned.word_head import softmax

LOSS_WEIGHT = 30.0
"""Weight of a row's loss against the regularisation (scikit-learn's C)."""


@dataclass(frozen=True, slots=True)
class Features:
    """A matrix of features, as the products that a fit needs."""

    columns: int
    times: Callable[[Floats], Floats]
    """All rows times a matrix of the shape (columns, labels); the fit goes on in the precision of the result."""
    times_transposed: Callable[[Floats], Floats]
    """The transposed rows times a matrix of the shape (rows, labels)."""
    block: Callable[[Numbers], Floats]
    """Some rows, by their numbers, as a dense matrix."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a fit tries: steps of L-BFGS at most, and rows times labels from which mini-batches are used."""

    steps: int
    large: int


def fit(features: Features, truth: Numbers, labels: int, effort: Effort) -> tuple[Floats, Floats]:
    """Fit weights (columns by labels) and bias; the bias is not regularised. `truth` has the label of each row."""
    if len(truth) * labels > effort.large:
        decay = 1 / (LOSS_WEIGHT * len(truth))
        return minibatch.fit(features.block, truth, features.columns, labels, decay)
    size = features.columns * labels
    return _parts(minimise(_objective(features, truth, labels), size + labels, effort.steps), size, labels)


def _objective(features: Features, truth: Numbers, labels: int) -> Objective:
    """Loss and gradient of weights and bias in one vector."""
    each, size = np.arange(len(truth)), features.columns * labels

    def loss(vector: Vector) -> tuple[float, Vector]:
        weights, bias = _parts(vector, size, labels)
        products = features.times(weights.astype(np.float32))
        chances = softmax(products + bias.astype(products.dtype))
        missed = -np.log(np.maximum(chances[each, truth], 1e-30)).sum(dtype=np.float64)
        chances[each, truth] -= 1.0
        slope = features.times_transposed(chances).astype(np.float64) * LOSS_WEIGHT + weights
        gradient = np.concatenate([slope.ravel(), chances.sum(axis=0, dtype=np.float64) * LOSS_WEIGHT])
        return float(LOSS_WEIGHT * missed + 0.5 * (weights * weights).sum()), gradient

    return loss


def _parts(vector: Vector, size: int, labels: int) -> tuple[Vector, Vector]:
    return vector[:size].reshape(-1, labels), vector[size:]
