"""A head over the vectors of a sentence encoder: multinomial logistic regression, helped by the nearest example.

A label's logit is the linear one plus NEAREST times the cosine to the nearest training text of the label. On Banking77
this is right for 89.0 % with 10 texts a label and 94.4 % with all; the linear logits alone for 88.0 % and 93.1 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from experts.finetuned.confidence import FACTS, Confidence, facts
from experts.finetuned.head_features import Floats
from experts.finetuned.head_file import HeadArrays, UnsoundHead, to_bytes
from experts.finetuned.word_head import softmax

NEAREST = 20.0
"""Weight of the cosine to the nearest example, chosen on Banking77 among 5, 10, 20 and 40."""
MAX_DIMENSION = 4_096
MAX_EXAMPLES = 100_000
_BLOCK = 2_000_000
"""Cosines that are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class NearestExamples:
    """Vectors of training texts, sorted by label; those of label i begin at `starts[i]`. Each label has one or more."""

    vectors: NDArray[np.float32]
    """Shape: (examples, dimension); each of length 1."""
    starts: NDArray[np.int64]

    def nearest(self, vectors: Floats) -> Floats:
        """The highest cosine of each vector to an example of each label; shape (vectors, labels)."""
        found = np.empty((len(vectors), len(self.starts)), np.float32)
        size = max(1, _BLOCK // len(self.vectors))
        for first in range(0, len(vectors), size):
            cosines = vectors[first : first + size] @ self.vectors.T
            found[first : first + size] = np.maximum.reduceat(cosines, self.starts, axis=1)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class VectorHead:
    """A classifier of vectors that the encoder with the identity `encoder` makes."""

    FORMAT: ClassVar[int] = 2

    labels: tuple[str, ...]
    encoder: str
    weights: NDArray[np.float32] = field(repr=False)
    """Shape: dimension by labels."""
    bias: NDArray[np.float32] = field(repr=False)
    examples: NearestExamples = field(repr=False)
    temperature: float
    confidence: Confidence

    @property
    def dimension(self) -> int:
        return len(self.weights)

    def logits(self, vectors: Floats) -> tuple[Floats, Floats, Floats]:
        """All logits, the linear ones, and the nearest cosines; each of shape (vectors, labels)."""
        linear, nearest = vectors @ self.weights + self.bias, self.examples.nearest(vectors)
        return linear + NEAREST * nearest, linear, nearest

    def classify(self, vectors: Floats) -> tuple[Floats, Floats]:
        """The probabilities of the labels, and the confidence in the first one of each vector.

        The probabilities, shape (vectors, labels), sum to 1: they take for granted that one of the labels fits. The
        confidence, shape (vectors,), does not.
        """
        logits, linear, nearest = self.logits(vectors)
        return softmax(logits / self.temperature), self.confidence.of(facts(logits, linear, nearest))

    def to_bytes(self) -> bytes:
        """Serialise the head: weights in half precision, examples as bytes that are scaled to their largest value."""
        examples = self.examples.vectors
        scaled = np.rint(examples / np.abs(examples).max(axis=1, keepdims=True) * 127).astype("i1")
        return to_bytes(
            {
                "format": self.FORMAT, "labels": self.labels, "encoder": self.encoder, "dimension": self.dimension,
                "examples": len(examples), "temperature": self.temperature,
            },
            {
                "weights": self.weights.astype("<f2"), "bias": self.bias.astype("<f4"), "examples": scaled,
                "starts": self.examples.starts.astype("<i8"), "means": self.confidence.means.astype("<f4"),
                "scales": self.confidence.scales.astype("<f4"), "trust": self.confidence.weights.astype("<f4"),
            },
        )  # fmt: skip

    @classmethod
    def read(cls, arrays: HeadArrays) -> VectorHead:
        """Read a head of this format. Raises UnsoundHead."""
        labels, encoder = arrays.labels(), arrays.about.get("encoder")
        if not isinstance(encoder, str) or not 0 < len(encoder) <= 300:
            raise UnsoundHead("names no encoder")
        dimension = _size(arrays, "dimension", MAX_DIMENSION)
        count = _size(arrays, "examples", MAX_EXAMPLES)
        temperature = arrays.about.get("temperature")
        if not isinstance(temperature, float) or not 0.01 <= temperature <= 100:
            raise UnsoundHead("has no valid temperature")
        return cls(
            labels,
            encoder,
            arrays.floats("weights", "<f2", (dimension, len(labels))),
            arrays.floats("bias", "<f4", (len(labels),)),
            _examples(arrays, count, dimension, len(labels)),
            temperature,
            _confidence(arrays),
        )


def _examples(arrays: HeadArrays, count: int, dimension: int, labels: int) -> NearestExamples:
    vectors = arrays.array("examples", "i1", (count, dimension)).astype(np.float32)
    starts = arrays.array("starts", "<i8", (labels,)).astype(np.int64)
    if starts[0] != 0 or starts[-1] >= count or (np.diff(starts) < 1).any():
        raise UnsoundHead("has labels without examples")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise UnsoundHead("has an example without a direction")
    return NearestExamples(vectors / lengths, starts)


def _confidence(arrays: HeadArrays) -> Confidence:
    means, scales = (arrays.floats(name, "<f4", (FACTS,)) for name in ("means", "scales"))
    if not (scales > 0).all():
        raise UnsoundHead("has a scale that is not positive")
    return Confidence(means, scales, arrays.floats("trust", "<f4", (FACTS + 1,)))


def _size(arrays: HeadArrays, name: str, most: int) -> int:
    size = arrays.about.get(name)
    if type(size) is not int or not 1 <= size <= most:
        raise UnsoundHead(f"has an invalid {name}")
    return size
