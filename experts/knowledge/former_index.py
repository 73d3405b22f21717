"""What an earlier index file knows of passages that did not change: their vectors and the counts of their terms."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experts.knowledge.index_file import open_index
from experts.knowledge.postings import Postings
from swarm.errors import UnusableInput


def no_postings() -> Postings:
    return Postings.counted({})


@dataclass(frozen=True)
class FormerIndex:
    """The chunks of an earlier index, by the hash of their passage and by the language of their document."""

    numbers: Mapping[tuple[bytes, str], int] = field(default_factory=dict)
    """Hash and language -> number of the chunk in the earlier index."""
    total: int = 0
    postings: Postings = field(default_factory=no_postings)
    vectors: Mapping[bytes, NDArray[np.float32]] = field(default_factory=dict)
    """Hash -> vector; empty if another encoder made them."""

    @classmethod
    def read(cls, path: Path | None, encoder: str) -> FormerIndex:
        """Read the index file `path`. One that is missing, damaged or of another format knows nothing."""
        try:
            return cls._read(path, encoder) if path else cls()
        except (UnusableInput, sqlite3.DatabaseError, KeyError, ValueError):
            return cls()

    @classmethod
    def _read(cls, path: Path, encoder: str) -> FormerIndex:
        with closing(open_index(path)) as db:
            meta = dict(db.execute("select name, value from meta"))
            chunks = db.execute(
                "select c.hash, d.language, c.id from chunk c join document d on d.id = c.document "
                "where c.same_as is null order by c.id"
            ).fetchall()
            postings = Postings.stored(db.execute("select term, chunks, counts from posting").fetchall())
            data = b"".join(row[0] for row in db.execute("select data from vector order by first"))
        vectors: Mapping[bytes, NDArray[np.float32]] = {}
        if encoder and meta["encoder"] == encoder:
            rows = np.frombuffer(data, np.float32).reshape(-1, int(meta["dimension"]))
            vectors = {digest: row for (digest, _, _), row in zip(chunks, rows, strict=True)}
        numbers = {(digest, language): number for digest, language, number in chunks}
        return cls(numbers, int(meta["total"]), postings, vectors)
