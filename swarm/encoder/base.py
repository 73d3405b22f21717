"""The interfaces of encoders and rerankers, and the calibration that makes cosines of different encoders comparable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TextKind = Literal["query", "passage", "text"]
"""What a text is for: `query` is a question to an index, `passage` is what the index holds, `text` is anything else,
such as an example of a label or a request that is matched with cards."""


class Calibration(NamedTuple):
    """Mean and standard deviation of the cosine of two unrelated texts.

    >>> round(Calibration(0.445, 0.05).z(0.645), 1)
    4.0
    """

    mean: float
    sd: float

    def z(self, cosine: float) -> float:
        """How many standard deviations a cosine lies above that of unrelated texts."""
        return (cosine - self.mean) / self.sd


UNCALIBRATED = Calibration(0.0, 1.0)
"""Makes `z` the cosine itself."""


class Encoder(Protocol):
    """Turns texts into vectors. It may be asked several times at once, and is never asked on the event loop."""

    @property
    def identity(self) -> str:
        """Equal for two encoders only if their vectors can be compared: `bge-small-en-v1.5/int8@68807e3f`.

        Store it with everything that is made from vectors. Under another identity an index is built anew from its
        documents, and a trained head is refused.
        """
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        ...

    @property
    def calibration(self) -> Calibration:
        """What the cosine of unrelated texts is."""
        ...

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        """The vectors of `texts`, float32 of shape (len(texts), dimension), each of length 1.

        An empty text has a vector too. Texts beyond the model's token limit are cut. Raises ExpertErrors:
        MissingDependency, WrongDigest, or what an endpoint raises. Cancelling it is safe.
        """
        ...


class Reranker(Protocol):
    """Scores passages against a question, both read together: slower and better than the cosine of their vectors."""

    @property
    def identity(self) -> str:
        """Equal for two rerankers only if their scores can be compared."""
        ...

    async def score(
        self, question: str, passages: Sequence[str], *, budget_ms: float | None = None
    ) -> NDArray[np.float32]:
        """The scores (logits, in no fixed range) of the first passages, float32 of shape (scored,).

        Give the most promising passages first: they are scored in order, and no further one is begun once `budget_ms`
        milliseconds have passed. The first one or few are always scored. `len()` says how many were.
        Raises the same errors as an encoder. Cancelling it is safe.
        """
        ...


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of shape (n, d) scaled to length 1, float32; a vector of zeros stays as it is."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32, copy=False)
    return scaled
