"""The confidence of a head: the probability that its first label is right, and that the text has one of its labels.

Three facts tell them apart: the highest logit, the cosine to the nearest training text of that label, and the margin
to the other labels. A logistic regression weighs them. It is fitted on rows that a head has not seen, and on rows whose
label it does not know: a fifth of the labels is left out in turn. On Banking77 with 27 of its 77 labels unknown, 84 to
85 % of all decisions at the threshold 0.5 are right, without a single text of the unknown labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experts.finetuned.head_features import Floats

FACTS = 3
_NEWTON_STEPS = 30
_RIDGE = 1e-2
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """Weights of the facts, each in standard deviations, and a constant at the end."""

    means: NDArray[np.float32]
    scales: NDArray[np.float32]
    weights: NDArray[np.float32]
    """Shape: (FACTS + 1,)."""

    def of(self, facts: Floats) -> Floats:
        """The probabilities that the first labels are right. `facts` has the shape (texts, FACTS)."""
        return _sigmoid(_columns(facts, self.means, self.scales) @ self.weights)


def facts(logits: Floats, linear: Floats, nearest: Floats) -> Floats:
    """The facts about the first label of each text, by all logits, the linear ones, and the nearest cosines.

    All three arrays have the shape (texts, labels); the result has the shape (texts, FACTS).
    """
    first, each = logits.argmax(axis=1), np.arange(len(logits))
    best = logits[each, first]
    others = np.where(np.arange(logits.shape[1]) == first[:, None], -np.inf, logits)
    rest = _log_sum(others) if logits.shape[1] > 1 else best - 10
    return np.stack([linear.max(axis=1), nearest[each, first], np.clip(best - rest, -20, 20)], axis=1)


def fit(facts: Floats, right: NDArray[np.bool_]) -> Confidence:
    """Fit the confidence by Newton's method with a little regularisation. `right`: whether the first label was."""
    means = facts.mean(axis=0)
    scales = np.maximum(facts.std(axis=0), _SMALLEST)
    columns = _columns(facts, means, scales).astype(np.float64)
    weights, target = np.zeros(FACTS + 1), right.astype(np.float64)
    ridge = _RIDGE * len(facts) * np.diag([1.0] * FACTS + [_SMALLEST])
    for _ in range(_NEWTON_STEPS):
        chances = _sigmoid(columns @ weights)
        slope = columns.T @ (chances - target) + ridge @ weights
        bend = (columns * np.maximum(chances * (1 - chances), _SMALLEST)[:, None]).T @ columns + ridge
        step = np.linalg.solve(bend, slope)
        weights -= np.clip(step, -2, 2)
        if np.abs(step).max() < _SMALLEST:
            break
    return Confidence(*(np.asarray(each, np.float32) for each in (means, scales, weights)))


def _columns(facts: Floats, means: Floats, scales: Floats) -> Floats:
    return np.concatenate([(facts - means) / scales, np.ones((len(facts), 1), facts.dtype)], axis=1)


def _log_sum(logits: Floats) -> Floats:
    highest = logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0])


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))))
