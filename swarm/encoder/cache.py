"""A cache of vectors in one SQLite file, shared by processes: an unchanged text is not encoded again.

A vector is found by the content of its text, its kind and the identity of its encoder. A cache that fails (a full
disk, a damaged file) costs time and no result: texts are then encoded as if it were empty, and the log says so once.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swarm import logging as events
from swarm.encoder.base import Calibration, Encoder, TextKind
from swarm.runtime.thread_pool import in_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES = 256_000_000
"""Bytes of a cache: about 150,000 vectors of 384 numbers."""
WINDOW = 256
"""Texts that are encoded before their vectors are stored: what an interrupted work loses at most."""

_SCHEMA = """
create table if not exists vector (key blob primary key, used integer not null, vector blob not null) without rowid;
create index if not exists vector_used on vector (used);
"""
_TIMEOUT = 5.0
"""Seconds to wait for another process that writes."""
_DAY = 86_400
"""Seconds; a use is noted once a day, since reading should not write."""
_KEPT = 0.8
"""Share of `max_bytes` that is left when the oldest vectors have been dropped."""
_AT_ONCE = 500
"""Values in one SQL statement."""

_log = events.get_logger("encoder")


class VectorCache:
    """Bytes of vectors by key, at most `max_bytes` of them; those not used for longest are dropped first.

    Several threads and processes may use one file. Every method blocks, and raises sqlite3.Error or OSError.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max = path, max_bytes
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        self._process = 0

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The vectors of those keys that are there."""
        wanted, now, found = list(dict.fromkeys(keys)), int(time.time()), {}
        stale: list[bytes] = []
        with self._lock:
            file = self._open()
            for first in range(0, len(wanted), _AT_ONCE):
                some = wanted[first : first + _AT_ONCE]
                places = ",".join("?" * len(some))
                for key, used, vector in file.execute(
                    f"select key, used, vector from vector where key in ({places})",  # noqa: S608 - only marks
                    some,
                ):
                    found[key] = vector
                    if now - used > _DAY:
                        stale.append(key)
            if stale:
                with file:
                    file.execute("begin immediate")
                    file.executemany("update vector set used = ? where key = ?", [(now, key) for key in stale])
        return found

    def put(self, vectors: Mapping[bytes, bytes]) -> None:
        """Store vectors in one transaction, then drop the oldest ones if there are too many."""
        now = int(time.time())
        rows = [(key, now, vector) for key, vector in vectors.items()]
        with self._lock:
            file = self._open()
            with file:
                file.execute("begin immediate")
                file.executemany("insert or replace into vector (key, used, vector) values (?, ?, ?)", rows)
                self._trim(file)

    def close(self) -> None:
        """Close the file; a later use opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _trim(self, file: sqlite3.Connection) -> None:
        pages, free, each = (
            file.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (size := (pages - free) * each) > self._max:
            (count,) = file.execute("select count(*) from vector").fetchone()
            drop = count - int(count * _KEPT * self._max / size)
            file.execute("delete from vector where key in (select key from vector order by used limit ?)", (drop,))

    def _open(self) -> sqlite3.Connection:
        if self._opened is None or self._process != os.getpid():  # a connection must not be used after a fork
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False)
            try:
                file.execute("pragma journal_mode = wal")
                file.execute("pragma synchronous = normal")
                file.executescript(_SCHEMA)
            except BaseException:
                file.close()
                raise
            self._opened, self._process = file, os.getpid()
        return self._opened


class CachedEncoder:
    """An encoder that looks into a cache first; see `swarm.encoder.base.Encoder`. The cache is closed by its owner."""

    def __init__(self, encoder: Encoder, cache: VectorCache) -> None:
        self._encoder, self._cache = encoder, cache
        self._broken = False

    @property
    def identity(self) -> str:
        return self._encoder.identity

    @property
    def dimension(self) -> int:
        return self._encoder.dimension

    @property
    def calibration(self) -> Calibration:
        return self._encoder.calibration

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        import numpy as np

        vectors = np.empty((len(texts), self.dimension), np.float32)
        keys = [cache_key(self.identity, kind, text) for text in texts]
        known = await self._known(keys)
        missing: dict[bytes, str] = {}
        for at, key in enumerate(keys):
            if key in known:
                vectors[at] = np.frombuffer(known[key], "<f4")
            else:
                missing[key] = texts[at]
        added: dict[bytes, NDArray[np.float32]] = {}
        items = list(missing.items())
        for first in range(0, len(items), WINDOW):
            some = dict(items[first : first + WINDOW])
            made = await self._encoder.encode(list(some.values()), kind=kind)
            added |= zip(some, made, strict=True)
            await self._store({key: row.astype("<f4").tobytes() for key, row in zip(some, made, strict=True)})
        for at, key in enumerate(keys):
            if key in added:
                vectors[at] = added[key]
        return vectors

    async def _known(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Vectors of the cache; those of another length are left out."""
        if not keys or self._broken:
            return {}
        try:
            found = await in_thread(self._cache.get, keys)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return {}
        return {key: vector for key, vector in found.items() if len(vector) == 4 * self.dimension}

    async def _store(self, vectors: Mapping[bytes, bytes]) -> None:
        if self._broken:
            return
        try:
            await in_thread(self._cache.put, vectors)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Go on without the cache, unless another process only held it for long."""
        if not (isinstance(error, sqlite3.OperationalError) and "locked" in str(error)):
            self._broken = True
        _log.warning(events.VECTOR_CACHE_FAILED, file=str(self._cache.path), problem=f"{type(error).__name__}: {error}")


def cache_key(identity: str, kind: TextKind, text: str) -> bytes:
    """The key of a text's vector: a hash of the encoder's identity, what the text is for, and the text."""
    parts = (identity, kind, text)
    return hashlib.blake2b(
        "\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=20, person=b"swarm-vector"
    ).digest()
