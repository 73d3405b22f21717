"""Encoders and rerankers that run here with ONNX Runtime, on one thread of their own and never on the event loop.

A model is loaded once per process, when it is first used. Long work goes through the thread in batches, so that a
short text waits for one batch at most, and cancelled work stops after one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from swarm.encoder.base import Calibration, TextKind, normalised
from swarm.encoder.model_thread import in_model_thread
from swarm.encoder.models import DEFAULT, REMEDY, RERANKER, KnownModel, LocatedModel, locate
from swarm.encoder.wordpiece import WordPiece
from swarm.errors import BadInput, MissingDependency

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_TOKENS = 512
"""Tokens of one batch, padding included: what stays in the cache of the processor."""
WINDOW = 256
"""Texts that are tokenised and sorted by length together."""


class OnnxModel:
    """A BERT model in ONNX, loaded when it is first used. Its methods run in the model thread only."""

    def __init__(self, located: LocatedModel) -> None:
        self.located = located
        self._loaded: tuple[WordPiece, Any] | None = None

    @property
    def tokenizer(self) -> WordPiece:
        """The tokenizer. Loads the model. Raises WrongDigest, or MissingDependency without ONNX Runtime."""
        return self._load()[0]

    def run(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> NDArray[np.float32]:
        """The model's output for rows of ids, which are padded to the longest: float32, shape (len(rows), ...)."""
        import numpy as np

        session = self._load()[1]
        width = max(map(len, rows))
        ids, mask, kinds = (np.zeros((len(rows), width), np.int64) for _ in range(3))
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
            if types is not None:
                kinds[at, : len(row)] = types[at]
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        output: NDArray[np.float32] = session.run(None, given)[0]
        return output

    def _load(self) -> tuple[WordPiece, Any]:
        if self._loaded is None:
            self._loaded = self._tokenizer(), _session(str(self.located.path("model.onnx")))
        return self._loaded

    def _tokenizer(self) -> WordPiece:
        text = self.located.path("vocab.txt").read_text(encoding="utf-8")
        return WordPiece(text.split("\n"))


class OnnxEncoder:
    """The vectors of a model that runs here; see `swarm.encoder.base.Encoder`. Get it from `open_encoder`."""

    def __init__(self, located: LocatedModel) -> None:
        self._about: KnownModel = located.model
        self._model = OnnxModel(located)

    @property
    def identity(self) -> str:
        return self._about.identity

    @property
    def dimension(self) -> int:
        return self._about.dimension

    @property
    def calibration(self) -> Calibration:
        return self._about.calibration

    async def load(self) -> None:
        """Load the model now, so that the first text need not wait for it: about 0.3 s."""
        await in_model_thread(self._model._load)

    async def is_english(self, text: str) -> bool:
        """Whether a text is in English, the one language of this model, as far as its words tell."""
        return await in_model_thread(lambda: self._model.tokenizer.is_english(text))

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        import numpy as np

        found = np.empty((len(texts), self.dimension), np.float32)
        work, done = self._batches(texts, self._about.query_prefix if kind == "query" else ""), 0
        while done < len(texts):
            places, vectors = await in_model_thread(next, work)
            found[places] = vectors
            done += len(places)
        return found

    def _batches(self, texts: Sequence[str], prefix: str) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """The vectors of all texts, one batch at a time, with their places."""
        tokenizer, limit = self._model.tokenizer, self._about.limit
        for first in range(0, len(texts), WINDOW):
            rows = [tokenizer.ids(prefix + text, limit) for text in texts[first : first + WINDOW]]
            for places in batches(list(map(len, rows))):
                states = self._model.run([rows[at] for at in places])
                yield [first + at for at in places], normalised(states[:, 0])


class OnnxReranker:
    """The scores of a model that runs here; see `swarm.encoder.base.Reranker`. Get it from `open_reranker`."""

    def __init__(self, located: LocatedModel) -> None:
        self._about: KnownModel = located.model
        self._model = OnnxModel(located)

    @property
    def identity(self) -> str:
        return self._about.identity

    async def load(self) -> None:
        """Load the model now, so that the first question need not wait for it: about 0.3 s."""
        await in_model_thread(self._model._load)

    async def score(
        self, question: str, passages: Sequence[str], *, budget_ms: float | None = None
    ) -> NDArray[np.float32]:
        import numpy as np

        until = None if budget_ms is None else time.monotonic() + budget_ms / 1000
        scores = np.empty(len(passages), np.float32)
        work, done = self._batches(question, passages), 0
        while done < len(passages) and (done == 0 or until is None or time.monotonic() < until):
            some = await in_model_thread(next, work)
            scores[done : done + len(some)] = some
            done += len(some)
        return scores[:done]

    def _batches(self, question: str, passages: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        tokenizer, limit = self._model.tokenizer, self._about.limit
        pairs: list[tuple[list[int], list[int]]] = []
        for passage in passages:
            pair = tokenizer.pair(question, passage, limit)
            widest = max(len(ids) for ids, _ in (*pairs, pair))
            if pairs and widest * (len(pairs) + 1) > BATCH_TOKENS:
                yield self._scores(pairs)
                pairs = []
            pairs.append(pair)
        yield self._scores(pairs)

    def _scores(self, pairs: Sequence[tuple[list[int], list[int]]]) -> NDArray[np.float32]:
        return self._model.run([ids for ids, _ in pairs], [types for _, types in pairs])[:, 0]


def open_encoder(name: str = DEFAULT, environ: Mapping[str, str] = os.environ) -> OnnxEncoder:
    """The encoder `name`, one per process. Nothing is loaded before it is used.

    Raises BadInput for an unknown name, MissingDependency with the remedy if its files are not there.
    """
    return _encoder(_of_role("encoder", name, environ), os.getpid())


def open_reranker(name: str = RERANKER, environ: Mapping[str, str] = os.environ) -> OnnxReranker:
    """The reranker `name`, one per process, for questions and passages in English. Raises as `open_encoder` does."""
    return _reranker(_of_role("reranker", name, environ), os.getpid())


def batches(lengths: Sequence[int], most: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Split places into batches of at most `most` tokens with padding, shortest first; a longer text goes alone.

    >>> list(batches([5, 300, 4, 290], most=16))
    [[2, 0], [3], [1]]
    """
    places: list[int] = []
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        if places and lengths[at] * (len(places) + 1) > most:
            yield places
            places = []
        places.append(at)
    if places:
        yield places


def _of_role(role: str, name: str, environ: Mapping[str, str]) -> LocatedModel:
    located = locate(name, environ)
    if located.model.role != role:
        raise BadInput("model", f"{name} is no {role}", f"its role is {located.model.role}")
    return located


@lru_cache(maxsize=8)
def _encoder(located: LocatedModel, process: int) -> OnnxEncoder:
    return OnnxEncoder(located)


@lru_cache(maxsize=8)
def _reranker(located: LocatedModel, process: int) -> OnnxReranker:
    return OnnxReranker(located)


def _session(path: str) -> Any:
    """An ONNX Runtime session on the thread that calls it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(f"ONNX Runtime cannot be used ({error}); {REMEDY}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a dozen kinds, and none is public
        problem = f"ONNX Runtime {onnxruntime.__version__} cannot load {path} ({type(error).__name__})"
        raise MissingDependency(f"{problem}; {REMEDY}") from error
