"""A head over words: a linear classifier of hashed n-grams, for machines and languages without an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from experts.finetuned.head_features import Floats, counted, times, weighted
from experts.finetuned.head_file import HeadArrays, UnsoundHead, to_bytes

_DIMS = range(8, 21)
"""Accepted binary logarithms of the number of columns."""


@dataclass(frozen=True, slots=True, eq=False)
class WordHead:
    """A linear classifier over hashed n-grams. Its probabilities are calibrated on rows it was not fitted on."""

    FORMAT: ClassVar[int] = 1

    labels: tuple[str, ...]
    weights: NDArray[np.float32] = field(repr=False)
    """Shape: columns by labels."""
    bias: NDArray[np.float32] = field(repr=False)
    rarity: NDArray[np.float32] = field(repr=False)

    @property
    def dims(self) -> int:
        return len(self.rarity)

    def logits(self, texts: Sequence[str]) -> Floats:
        """Shape: texts by labels."""
        rows = weighted(counted(texts, self.dims), self.rarity)
        return times(rows, self.weights) + self.bias

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """One row per text, one column per label; rows sum to one."""
        return softmax(self.logits(texts))

    def to_bytes(self) -> bytes:
        """Serialise the head; weights are stored in half precision."""
        return to_bytes(
            {"format": self.FORMAT, "labels": self.labels, "dims": self.dims},
            {
                "weights": self.weights.astype("<f2"),
                "bias": self.bias.astype("<f4"),
                "rarity": self.rarity.astype("<f2"),
            },
        )

    @classmethod
    def read(cls, arrays: HeadArrays) -> WordHead:
        """Read a head of this format. Raises UnsoundHead."""
        labels, dims = arrays.labels(), arrays.about.get("dims")
        if type(dims) is not int or dims not in {2**power for power in _DIMS}:
            raise UnsoundHead("has an invalid number of columns")
        weights = arrays.floats("weights", "<f2", (dims, len(labels)))
        bias = arrays.floats("bias", "<f4", (len(labels),))
        return cls(labels, weights, bias, arrays.floats("rarity", "<f2", (dims,)))


def softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))
