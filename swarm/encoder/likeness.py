"""How like texts are to a few subjects, each with a description and examples, in numbers that can be compared.

The likeness of a text and a subject is that of the description, plus half of what the best example is ahead of it, in
standard deviations above that of unrelated requests (unrelated.txt). So any encoder is calibrated to any subjects: raw
cosines of one lie between 0 and 0.3, of another between 0.4 and 0.7. Half of what all requests have in common is taken
out of the vectors first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.encoder.base import Encoder, normalised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXAMPLE = 0.5
"""Share of what the best example is ahead of the description."""
_COMMON = 0.5
"""Share of the mean vector of unrelated requests that is taken out of all vectors."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What texts are compared with."""

    name: str
    description: str
    examples: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Subjects:
    """Vectors of subjects, made by one encoder. Get them from `encode_subjects`."""

    encoder: Encoder
    names: tuple[str, ...]
    described: NDArray[np.float32]
    """Of the descriptions, shape (subjects, dimension)."""
    examples: NDArray[np.float32]
    owners: tuple[int, ...]
    """The number of the subject of each example."""
    common: NDArray[np.float32]
    """What is taken out of each vector."""
    mean: float
    sd: float
    """Of the cosines of unrelated requests and descriptions."""

    async def likeness(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """How like each text is to each subject, by name. Raises what the encoder raises."""
        rows = self._scores(await self.encoder.encode(texts))
        return [dict(zip(self.names, map(float, row), strict=True)) for row in rows]

    def _scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The likenesses, float32 of shape (texts, subjects)."""
        import numpy as np

        centred = normalised(vectors - self.common)
        scores = (centred @ self.described.T - self.mean) / self.sd
        if self.owners:
            best = np.full_like(scores, -np.inf)
            np.maximum.at(best.T, np.asarray(self.owners), ((centred @ self.examples.T - self.mean) / self.sd).T)
            scores += _EXAMPLE * np.maximum(0, best - scores)
        return scores.astype(np.float32, copy=False)


async def encode_subjects(encoder: Encoder, subjects: Sequence[Subject]) -> Subjects:
    """Encode the texts of subjects. Raises what the encoder raises."""
    described = [subject.description for subject in subjects]
    examples = [(at, text) for at, subject in enumerate(subjects) for text in subject.examples]
    vectors = await encoder.encode([*described, *(text for _, text in examples), *unrelated()])
    first, behind = len(described), len(described) + len(examples)
    common = _COMMON * vectors[behind:].mean(axis=0)
    centred = normalised(vectors - common)
    cosines = centred[behind:] @ centred[:first].T
    return Subjects(
        encoder,
        tuple(subject.name for subject in subjects),
        centred[:first],
        centred[first:behind],
        tuple(at for at, _ in examples),
        common,
        float(cosines.mean()),
        max(float(cosines.std()), 1e-6),
    )


def mean_of(likenesses: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of what several encoders say about one text.

    >>> mean_of([{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 5.0}])
    {'a': 1.5, 'b': 4.0}
    """
    return {name: sum(one[name] for one in likenesses) / len(likenesses) for name in likenesses[0]}


@cache
def unrelated() -> tuple[str, ...]:
    """Requests in several languages that hardly any catalog is for."""
    return tuple((Path(__file__).parent / "unrelated.txt").read_text(encoding="utf-8").splitlines())
