"""An encoder for routing: vectors of several encoders side by side, so that requests in many languages find experts.

Its `calibration.z` of a cosine is the sum of what the encoders say, each in its own standard deviations.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from swarm.encoder.base import Calibration, Encoder, TextKind
from swarm.encoder.onnx import open_encoder
from swarm.encoder.use import open_use
from swarm.errors import MissingDependency

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RoutingEncoder:
    """Several encoders as one; see `swarm.encoder.base.Encoder`.

    A vector holds those of all encoders, each divided by the root of its calibration's deviation, and scaled to length
    1. So the cosine of two vectors is a weighted mean of the encoders' cosines, and its z the sum of their z.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self._encoders = tuple(encoders)
        self._total = sum(1 / each.calibration.sd for each in self._encoders)

    @property
    def identity(self) -> str:
        return "+".join(each.identity for each in self._encoders)

    @property
    def dimension(self) -> int:
        return sum(each.dimension for each in self._encoders)

    @property
    def calibration(self) -> Calibration:
        mean = sum(each.calibration.mean / each.calibration.sd for each in self._encoders) / self._total
        return Calibration(mean, 1 / self._total)

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        import numpy as np

        found = await asyncio.gather(*(each.encode(texts, kind=kind) for each in self._encoders))
        weights = [math.sqrt(1 / (each.calibration.sd * self._total)) for each in self._encoders]
        parts = [vectors * weight for vectors, weight in zip(found, weights, strict=True)]
        return np.concatenate(parts, axis=1).astype(np.float32, copy=False)


def open_routing_encoder(environ: Mapping[str, str] = os.environ) -> Encoder:
    """The default encoder together with the multilingual one; without that, the default encoder alone.

    Raises MissingDependency if the default one is not there.
    """
    first = open_encoder(environ=environ)
    try:
        return RoutingEncoder((first, open_use(environ)))
    except MissingDependency:
        return first
