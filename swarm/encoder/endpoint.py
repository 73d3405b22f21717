"""An encoder on an OpenAI-compatible endpoint, named `endpoint/model` as on a card.

Its calls are charged, limited and counted for the model's health like any other. A server can change its model
silently, so the vectors of a few fixed texts are stored with an index and compared when it is opened.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swarm.encoder.base import Calibration, TextKind, normalised
from swarm.errors import BadOutput, ExpertError
from swarm.llm.base import Message
from swarm.llm.metered import ACCOUNT, BudgetAccount, CallOutcome, most_tokens, outcome_of, spare_attempt
from swarm.llm.openai.embeddings import Embedded, batches, same_length
from swarm.llm.openai.usage import given_up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNRELATED = (
    "The ferry to the island leaves every second hour.",
    "Whisk the eggs with sugar until they are pale.",
    "A prime number has exactly two divisors.",
    "My card was declined at the hotel yesterday.",
    "The orchestra tuned its instruments before the concert.",
    "Glaciers carve valleys over thousands of years.",
    "Please reset the password of my account.",
    "The goalkeeper was injured in the first half.",
    "Bees find their way back by the position of the sun.",
    "The contract ends three months after it is cancelled.",
    "Her grandmother knitted a green scarf.",
    "Compile the program without warnings.",
)
"""Texts that have nothing in common: the cosines of their vectors are the calibration, the first few are the probes."""
PROBES = 3
SAME = 0.999
"""Cosine from which on two vectors of one text are of the same model."""
TIMEOUT = 60.0
TRIES = 3
"""Requests for one batch outside of a delivery; inside of one the queue tries again."""
FIRST_PAUSE = 0.5
"""Seconds before the second request, doubled before the third."""


class Embedder(Protocol):
    """An embedding model, such as `OpenAIModels.embedder("endpoint/model")`."""

    @property
    def name(self) -> str:
        """`endpoint/model`."""
        ...

    async def embed(self, texts: Sequence[str], *, timeout: float) -> Embedded:
        """One vector per text, in order. Raises ExpertErrors."""
        ...


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What the model wants before a text, by what the text is for: `query: ` and `passage: ` for E5."""

    query: str = ""
    passage: str = ""
    text: str = ""


NO_PREFIXES = Prefixes()


class EndpointEncoder:
    """The vectors of a model on an endpoint; see `swarm.encoder.base.Encoder`. Get it from `EndpointEncoder.open`.

    The embedder is closed by its owner.
    """

    def __init__(self, embedder: Embedder, prefixes: Prefixes, sample: NDArray[np.float32], timeout: float) -> None:
        self._embedder, self._prefixes, self._timeout = embedder, prefixes, timeout
        self._sample = sample
        self.calibration = _calibration(sample)

    @classmethod
    async def open(
        cls, embedder: Embedder, prefixes: Prefixes = NO_PREFIXES, *, timeout: float = TIMEOUT
    ) -> EndpointEncoder:
        """Encode a dozen fixed texts, for the dimension, the calibration and the probes. Raises ExpertErrors."""
        sample = await _encoded(embedder, [prefixes.text + text for text in UNRELATED], timeout)
        return cls(embedder, prefixes, sample, timeout)

    @property
    def identity(self) -> str:
        """Endpoint, model and dimension, and a digest of the prefixes if there are any."""
        prefixes = (self._prefixes.query, self._prefixes.passage, self._prefixes.text)
        digest = hashlib.sha256("\0".join(prefixes).encode()).hexdigest()[:8]
        return f"{self._embedder.name}@{self.dimension}" + (f"+{digest}" if any(prefixes) else "")

    @property
    def dimension(self) -> int:
        return int(self._sample.shape[1])

    @property
    def probes(self) -> NDArray[np.float32]:
        """The vectors of fixed texts, float32 of shape (3, dimension). Store them with an index."""
        return self._sample[:PROBES]

    def is_same_model(self, probes: NDArray[np.float32]) -> bool:
        """Whether probes that were stored earlier are of this model: the server has not changed it silently."""
        return probes.shape == self.probes.shape and float((probes * self.probes).sum(axis=1).min()) >= SAME

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        import numpy as np

        if not texts:
            return np.empty((0, self.dimension), np.float32)
        prefix: str = getattr(self._prefixes, kind)
        found = await _encoded(self._embedder, [prefix + text for text in texts], self._timeout)
        if found.shape[1] != self.dimension:
            problem = f"its vectors had {self.dimension} numbers and have {found.shape[1]} now"
            raise BadOutput(f"{self._embedder.name}: {problem}; build the index anew", retryable=False)
        return found


async def _encoded(embedder: Embedder, texts: Sequence[str], timeout: float) -> NDArray[np.float32]:
    import numpy as np

    vectors: list[tuple[float, ...]] = []
    for some in batches([text if text.strip() else "-" for text in texts]):  # servers refuse an empty text
        vectors += (await _patiently(embedder, some, timeout)).vectors
    same_length(embedder.name, vectors)
    return normalised(np.array(vectors, np.float32))


async def _patiently(embedder: Embedder, texts: Sequence[str], timeout: float) -> Embedded:
    """Embed one batch. Outside of a delivery, a failure that may pass is tried again within `timeout` seconds."""
    account, until, pause = ACCOUNT.get(), time.monotonic() + timeout, FIRST_PAUSE
    if account is not None:
        return await _paid(embedder, texts, timeout, account)
    for _ in range(TRIES - 1):
        try:
            return await embedder.embed(texts, timeout=max(0.001, until - time.monotonic()))
        except ExpertError as error:
            wait = error.retry_after or pause
            if not error.retryable or time.monotonic() + wait > until:
                raise
        await asyncio.sleep(wait)
        pause *= 2
    return await embedder.embed(texts, timeout=max(0.001, until - time.monotonic()))


async def _paid(embedder: Embedder, texts: Sequence[str], timeout: float, account: BudgetAccount) -> Embedded:
    """Embed one batch on the account of the delivery that asks."""
    messages, until = [Message("user", text) for text in texts], time.monotonic() + timeout
    held = await account.reserve(embedder.name, most_tokens(messages), 1, timeout)
    try:
        found = await embedder.embed(texts, timeout=max(0.001, until - time.monotonic()))
    except ExpertError as error:
        account.settle(held, outcome_of(error, messages, embedder.name))
        spare_attempt(error, held)
        raise
    except BaseException:
        used = given_up(messages)
        account.settle(held, CallOutcome("unknown", used.input_tokens, estimated=True, left=True))
        raise
    used = found.usage
    account.settle(held, CallOutcome("reported", used.input_tokens, answered=True, estimated=bool(used.estimated)))
    return found


def _calibration(sample: NDArray[np.float32]) -> Calibration:
    """Mean and deviation of the cosines of all pairs of unrelated texts."""
    import numpy as np

    cosines = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    return Calibration(float(cosines.mean()), max(float(cosines.std()), 1e-6))
