"""Several encoders as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from swarm.encoder.base import Calibration, TextKind, normalised
from swarm.encoder.routing import RoutingEncoder


class Seeded:
    """An encoder whose vectors are random, and the same for the same text."""

    def __init__(self, identity: str, dimension: int, calibration: Calibration) -> None:
        self.identity, self.dimension, self.calibration = identity, dimension, calibration

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        rows = [np.random.default_rng([self.dimension, *text.encode()]).normal(size=self.dimension) for text in texts]
        return normalised(np.array(rows, np.float32).reshape(len(rows), self.dimension))


ONE, OTHER = Seeded("one@1", 8, Calibration(0.4, 0.05)), Seeded("other@1", 5, Calibration(-0.1, 0.2))
TEXTS = ["where is my parcel", "pay it back", "translate this", ""]


async def test_the_z_of_a_cosine_is_the_sum_of_the_z_of_all_encoders() -> None:
    both = RoutingEncoder((ONE, OTHER))
    vectors = await both.encode(TEXTS)
    one, other = await ONE.encode(TEXTS), await OTHER.encode(TEXTS)

    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for a, b in ((0, 1), (1, 2), (3, 0), (2, 2)):
        expected = ONE.calibration.z(float(one[a] @ one[b])) + OTHER.calibration.z(float(other[a] @ other[b]))
        assert both.calibration.z(float(vectors[a] @ vectors[b])) == pytest.approx(expected, abs=1e-3)


async def test_it_is_an_encoder_like_any_other() -> None:
    both = RoutingEncoder((ONE, OTHER))

    assert (both.identity, both.dimension) == ("one@1+other@1", 13)
    assert (await both.encode([])).shape == (0, 13)
    assert (await both.encode(TEXTS)).dtype == np.float32
