"""The Universal Sentence Encoder, multilingual: vectors for routing in many languages, computed with numpy.

The network sums what three convolutions (of 2, 3 and 5 tokens) make of a text, projects the sum and passes it through
two dense layers. It is quick and good at short requests; for passages the other encoder is better.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from swarm.encoder.base import Calibration, TextKind, normalised
from swarm.encoder.model_thread import in_model_thread
from swarm.encoder.models import MULTILINGUAL, REMEDY, LocatedModel, locate
from swarm.encoder.unigram import Unigram
from swarm.errors import MissingDependency

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_TOKENS = 384
"""Tokens of a batch: its matrices stay in the cache of the processor."""
_ROWS, _CHUNKS, _WIDTH, _NARROW = 7_530, 17, 512, 256
"""The table of tokens: rows in a chunk, chunks, numbers of a token; and the numbers of a convolution."""
_CONVOLUTIONS = ((2, 0), (3, 1), (5, 2))
"""Tokens that each one sees, and how many of them lie before its own."""


class UseEncoder:
    """Vectors of 512 numbers in many languages; see `swarm.encoder.base.Encoder`. Get it from `open_use`."""

    def __init__(self, located: LocatedModel) -> None:
        self._located, self._about = located, located.model
        self._loaded: tuple[Unigram, _Network] | None = None

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
        """Load the model now, so that the first text need not wait for it: about a second."""
        await in_model_thread(self._load)

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        import numpy as np

        found = np.empty((len(texts), self.dimension), np.float32)
        work, done = self._batches(texts), 0
        while done < len(texts):
            vectors = await in_model_thread(next, work)
            found[done : done + len(vectors)] = vectors
            done += len(vectors)
        return found

    def _batches(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        tokenizer, network = self._load()
        rows: list[list[int]] = []
        for text in texts:
            row = tokenizer.ids(text, self._about.limit)
            if rows and sum(map(len, rows)) + len(row) > BATCH_TOKENS:
                yield network.vectors(rows)
                rows = []
            rows.append(row)
        yield network.vectors(rows)

    def _load(self) -> tuple[Unigram, _Network]:
        if self._loaded is None:
            tokenizer = Unigram(self._located.path("sp.model").read_bytes())
            self._loaded = tokenizer, _Network(str(self._located.path("weights.npz")))
        return self._loaded


class _Network:
    """The weights, and the way from tokens to vectors."""

    def __init__(self, path: str) -> None:
        import numpy as np

        self._table = np.empty((_CHUNKS * _ROWS, _WIDTH), np.uint8)  # 65 MB; as floats it would have 262
        with np.load(path, allow_pickle=False) as file:
            for chunk in range(_CHUNKS):
                self._table[chunk::_CHUNKS] = file[f"q{chunk + 1}"]
            self._weights: dict[str, Any] = {name: file[name] for name in file.files if not name.startswith("q")}
        for name in ("proj", "proj_b", "ln_g", "ln_b"):  # of all convolutions together, side by side
            parts = [self._weights[f"{name}{size}"] for size, _ in _CONVOLUTIONS]
            self._weights[f"{name}_all"] = np.concatenate(parts, axis=-1)
        self._threads = _thread_controller()

    def vectors(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The vectors of texts given as ids, computed together: shape (len(rows), 512).

        It takes one thread: several threads of numpy wait for each other actively, and are far slower on busy cores.
        """
        with self._threads.limit(limits=1, user_api="blas"):
            return self._vectors(rows)

    def _vectors(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import numpy as np

        weights = self._weights
        lengths = np.array([len(row) for row in rows])
        starts = np.concatenate(([0], np.cumsum(lengths[:-1])))
        ids = np.concatenate([np.asarray(row) for row in rows])
        chunk = ids % _CHUNKS
        words = self._table[ids] * weights["scale"][chunk, None] + weights["lo"][chunk, None]
        narrow = self._layer_norm(words @ weights["proj_all"] + weights["proj_b_all"], "_all")
        states = [words]
        for number, (size, before) in enumerate(_CONVOLUTIONS):
            own = narrow[:, number * _NARROW : (number + 1) * _NARROW]
            windows = _windows(starts, lengths, size, before)
            once = own + self._convolved(own, windows, f"1_{size}")
            states.append(once + self._convolved(once, windows, f"2_{size}"))
        every = self._layer_norm(np.concatenate(states, axis=1), "")
        sums = np.add.reduceat(every, starts, axis=0) @ weights["cnn_W"] + lengths[:, None] * weights["cnn_b"]
        return normalised(self._dense((sums / np.sqrt(lengths)[:, None]).astype(np.float32)))

    def _convolved(self, states: Any, windows: Any, name: str) -> Any:
        """What a convolution makes of each token and its neighbours."""
        import numpy as np

        padded = np.vstack([states, np.zeros((1, states.shape[1]), np.float32)])
        seen = padded[windows].reshape(len(states), -1)
        return np.maximum(seen @ self._weights[f"w{name}"] + self._weights[f"b{name}"], 0)

    def _layer_norm(self, states: Any, name: str) -> Any:
        import numpy as np

        centred = states - states.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._weights["eps"])
        return (centred * scale).astype(np.float32) * self._weights[f"ln_g{name}"] + self._weights[f"ln_b{name}"]

    def _dense(self, sums: Any) -> Any:
        import numpy as np

        weights = self._weights
        first = np.maximum(sums @ weights["d0"], 0)
        second = np.maximum(sums @ weights["p1"] + first @ weights["d1"], 0)
        third = np.maximum(second @ weights["d2"], 0)
        return np.tanh(second @ weights["p3"] + third @ weights["d3"])


def _windows(starts: Any, lengths: Any, size: int, before: int) -> Any:
    """For each token the places that a convolution sees; those beyond its text are the place after all tokens."""
    import numpy as np

    total = int(lengths.sum())
    places = np.arange(total)[:, None] + np.arange(-before, size - before)
    first, end = np.repeat(starts, lengths)[:, None], np.repeat(starts + lengths, lengths)[:, None]
    return np.where((places >= first) & (places < end), places, total)


def _thread_controller() -> Any:
    """What limits the threads of numpy's matrix products."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError as error:
        raise MissingDependency(f"the package threadpoolctl is not installed; {REMEDY}") from error
    return ThreadpoolController()


def open_use(environ: Mapping[str, str] = os.environ) -> UseEncoder:
    """The multilingual encoder, one per process. Nothing is loaded before it is used.

    Raises MissingDependency with the remedy if its files are not there.
    """
    return _encoder(locate(MULTILINGUAL, environ), os.getpid())


@lru_cache(maxsize=8)
def _encoder(located: LocatedModel, process: int) -> UseEncoder:
    return UseEncoder(located)
