"""Likeness to subjects: any encoder is calibrated by unrelated texts, and examples help the subject they are of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from swarm.encoder.base import UNCALIBRATED, Calibration, TextKind, normalised
from swarm.encoder.likeness import Subject, encode_subjects, mean_of, unrelated


class WordEncoder:
    """An encoder of words: texts are as like as the words they share. `floor` is added to every number."""

    dimension = 4096
    identity = "words"
    calibration: Calibration = UNCALIBRATED

    def __init__(self, floor: float = 0.0) -> None:
        self.floor = floor

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        vectors = np.full((len(texts), self.dimension), self.floor, np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().replace(".", " ").replace("?", " ").replace(":", " ").split():
                row[int.from_bytes(word.encode()[-8:], "big") % self.dimension] += 1
        return normalised(vectors)


SUBJECTS = (
    Subject("parking", "parking: permits and fines for cars", ("I got a ticket in front of my garage",)),
    Subject("waste", "waste: bins and collection days"),
)


async def test_a_text_is_most_like_the_subject_that_it_shares_words_with() -> None:
    subjects = await encode_subjects(WordEncoder(), SUBJECTS)

    cars, bins = await subjects.likeness(["permits for cars", "collection of bins"])

    assert max(cars, key=cars.__getitem__) == "parking"
    assert max(bins, key=bins.__getitem__) == "waste"


async def test_an_example_helps_its_own_subject_only() -> None:
    plain = await encode_subjects(WordEncoder(), [Subject(one.name, one.description) for one in SUBJECTS])
    helped = await encode_subjects(WordEncoder(), SUBJECTS)

    (before,), (after,) = (
        await plain.likeness(["a ticket at my garage"]),
        await helped.likeness(["a ticket at my garage"]),
    )

    assert after["parking"] > before["parking"] + 1
    assert after["waste"] == pytest.approx(before["waste"], abs=1e-4)


async def test_the_scale_is_that_of_unrelated_texts_whatever_the_encoder() -> None:
    """Cosines of an encoder whose vectors all lie close together mean the same once they are calibrated."""
    for floor in (0.0, 0.02):
        subjects = await encode_subjects(WordEncoder(floor), SUBJECTS)
        foreign = [said[name] for said in await subjects.likeness(unrelated()) for name in ("parking", "waste")]

        assert np.mean(foreign) == pytest.approx(0, abs=0.5)
        assert (await subjects.likeness(["permits and fines for cars"]))[0]["parking"] > 2.7


def test_the_mean_is_per_subject() -> None:
    assert mean_of([{"a": 1.0}]) == {"a": 1.0}
    assert mean_of([{"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 1.0}]) == {"a": 2.0, "b": 0.5}
