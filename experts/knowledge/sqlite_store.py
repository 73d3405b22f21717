"""Searches an index file: words by BM25, vectors by exact cosine. Nothing is written to it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experts.knowledge.index_file import REBUILD, open_index
from experts.knowledge.passages import Passage
from experts.knowledge.store import ChunkScore, StoredChunk, StoredDocument, Term, Where
from swarm.errors import UnusableInput
from swarm.text.bm25 import K1

B = 0.75
"""How much a longer passage counts less."""
CACHED_POSTINGS = 256
"""Terms whose postings a store keeps in memory."""

Floats = NDArray[np.float32]
_Posting = tuple[NDArray[np.int32], Floats]
_CHUNKS = """
select c.id, c.ordinal, d.name, c.section, c.text, c.header, c.page, c.first_line, c.last_line, d.metadata
from chunk c join document d on d.id = c.document where c.id in (select value from json_each(?))"""
_TWINS = """
select c.same_as, d.name
from chunk c join document d on d.id = c.document where c.same_as in (select value from json_each(?))"""


class SqliteStore:
    """A KnowledgeStore in one file. Each thread that searches it has a connection of its own."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises UnusableInput if it is damaged or of another format."""
        self.path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = [open_index(path)]
        self._closed = False
        self._posting = lru_cache(maxsize=CACHED_POSTINGS)(self._read_posting)
        try:
            with self._connection() as db:
                self._meta: dict[str, str] = dict(db.execute("select name, value from meta"))
                self.version, self.encoder = self._meta["version"], self._meta["encoder"]
                self.size, self.total = int(self._meta["size"]), int(self._meta["total"])
                self.dimension = int(self._meta["dimension"])
                self.languages: tuple[str, ...] = tuple(self._meta["languages"].split())
        except (sqlite3.DatabaseError, KeyError, ValueError) as error:
            self.close()
            raise UnusableInput(f"the index {path.name} is damaged ({error}); {REBUILD}") from None

    def holders(self, stems: Sequence[str]) -> Mapping[str, int]:
        return {stem: len(found) for stem in stems if len(found := self._posting(stem)[0])}

    def search_text(self, terms: Sequence[Term], count: int, where: Where | None = None) -> list[ChunkScore]:
        scores = np.zeros(self.total, np.float32)
        for term in terms:
            for stem in term.stems:
                chunks, impacts = self._posting(stem)
                scores[chunks] += np.float32(term.weight) * impacts
        if where:
            scores[~self._allowed(where)] = 0.0
        return _best(scores, np.flatnonzero(scores > 0), count)

    def covered(self, terms: Sequence[Term], chunks: Sequence[int]) -> dict[int, float]:
        wanted = np.asarray(chunks, np.int32)
        found, whole = np.zeros(len(wanted)), 0.0
        for term in terms:
            if term.needed:
                whole += term.weight
                having = [_among(wanted, self._posting(stem)[0]) for stem in term.stems]
                found += term.weight * np.logical_or.reduce(having)
        return dict(zip(chunks, (found / (whole or 1.0)).tolist(), strict=True))

    def search_vectors(self, vector: Floats, count: int, where: Where | None = None) -> list[ChunkScore]:
        if not len(self._vectors):
            return []
        cosines = np.vecdot(self._vectors, vector)  # `@` would use all cores, and wait for each
        rows = np.flatnonzero(self._allowed(where)[self._distinct]) if where else np.arange(len(cosines))
        return [ChunkScore(int(self._distinct[row]), score) for row, score in _best(cosines, rows, count)]

    def cosines(self, vector: Floats, chunks: Sequence[int]) -> dict[int, float]:
        rows = np.searchsorted(self._distinct, np.asarray(chunks, np.int64))
        return dict(zip(chunks, np.vecdot(self._vectors[rows], vector).tolist(), strict=True))

    def chunks(self, numbers: Sequence[int]) -> list[StoredChunk]:
        found = {chunk.id: chunk for chunk in self._chunks(numbers)}
        return [found[number] for number in numbers]

    def neighbours(self, number: int, before: int = 1, after: int = 1) -> list[StoredChunk]:
        document = next((d for d in self.documents() if d.first <= number < d.first + d.count), None)
        if document is None:
            raise KeyError(number)
        first = max(document.first, number - before)
        return self.chunks(range(first, min(document.first + document.count, number + after + 1)))

    def documents(self) -> Sequence[StoredDocument]:
        return self._documents

    def document_chunks(self, name: str) -> list[StoredChunk]:
        """All chunks of a document in reading order. Raises KeyError if there is no such document."""
        document = next((each for each in self._documents if each.name == name), None)
        if document is None:
            raise KeyError(name)
        return self.chunks(range(document.first, document.first + document.count))

    def close(self) -> None:
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for connection in idle:
            connection.close()

    @cached_property
    def _documents(self) -> tuple[StoredDocument, ...]:
        with self._connection() as db:
            rows = db.execute("select name, title, language, metadata, first, count from document order by name")
            return tuple(
                StoredDocument(name, title, language, json.loads(metadata), first, count)
                for name, title, language, metadata, first, count in rows
            )

    @cached_property
    def _distinct(self) -> NDArray[np.int64]:
        """The numbers of the distinct chunks, in the order of their vectors."""
        return np.flatnonzero(self._same == np.arange(self.total))

    @cached_property
    def _same(self) -> NDArray[np.int64]:
        """For each chunk, the number of the distinct chunk with its text."""
        same = np.arange(self.total)
        with self._connection() as db:
            for number, other in db.execute("select id, same_as from chunk where same_as is not null"):
                same[number] = other
        return same

    @cached_property
    def _vectors(self) -> Floats:
        """The vectors of the distinct chunks, shape (size, dimension); of no row in a store of words alone."""
        with self._connection() as db:
            data = b"".join(row[0] for row in db.execute("select data from vector order by first"))
        return np.frombuffer(data, np.float32).reshape(-1, max(1, self.dimension))

    def _allowed(self, where: Where) -> NDArray[np.bool_]:
        """Which chunks are in documents that the filter lets through, themselves or by an equal text."""
        allowed = np.zeros(self.total, np.bool_)
        for document in self._documents:
            if _fits(document, where):
                allowed[self._same[document.first : document.first + document.count]] = True
        return allowed

    def _chunks(self, numbers: Sequence[int]) -> Iterator[StoredChunk]:
        asked = (json.dumps(list(numbers)),)
        with self._connection() as db:
            rows = db.execute(_CHUNKS, asked).fetchall()
            twins: dict[int, dict[str, None]] = defaultdict(dict)
            for number, name in db.execute(_TWINS, asked):
                twins[number][name] = None
        yield from (_chunk(row, tuple(twins[row[0]])) for row in rows)

    def _read_posting(self, term: str) -> _Posting:
        """The chunks that have a term, and its saturated frequency in each."""
        with self._connection() as db:
            row = db.execute("select chunks, counts from posting where term = ?", (term,)).fetchone() or (b"", b"")
        chunks = np.frombuffer(row[0], np.int32)
        times = np.frombuffer(row[1], np.uint16).astype(np.float32)
        impacts = times * (K1 + 1) / (times + K1 * (1 - B + B * self._lengths[chunks]))
        return chunks, impacts.astype(np.float32)

    @cached_property
    def _lengths(self) -> Floats:
        """The length of each chunk in units of the mean."""
        with self._connection() as db:
            return np.frombuffer(db.execute("select data from length").fetchone()[0], np.float32)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses meanwhile. Raises UnusableInput for a damaged file."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or open_index(self.path)
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            raise UnusableInput(f"the index {self.path.name} is damaged ({error}); {REBUILD}") from None
        finally:
            with self._lock:
                if keep := not self._closed:
                    self._idle.append(connection)
            if not keep:
                connection.close()


def _best(scores: Floats, candidates: NDArray[np.intp], count: int) -> list[ChunkScore]:
    """The `count` candidates with the highest scores; of equal ones, those with the lower number."""
    if len(candidates) > count:
        limit = np.partition(scores[candidates], -count)[-count]
        candidates = candidates[scores[candidates] >= limit]
    order = candidates[np.argsort(-scores[candidates], kind="stable")][:count]
    return [ChunkScore(int(number), float(scores[number])) for number in order]


def _among(wanted: NDArray[np.int32], chunks: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the wanted chunks are among `chunks`, which are sorted."""
    if not len(chunks):
        return np.zeros(len(wanted), np.bool_)
    places = np.searchsorted(chunks, wanted)
    found: NDArray[np.bool_] = chunks[np.minimum(places, len(chunks) - 1)] == wanted
    return found


def _fits(document: StoredDocument, where: Where) -> bool:
    for field, wanted in where.items():
        values = [wanted] if isinstance(wanted, str) else wanted
        if field == "document":
            if not any(document.name == value or document.name.startswith(value) for value in values):
                return False
        else:
            own = {"title": document.title, "language": document.language}.get(field, document.metadata.get(field))
            if own not in values:
                return False
    return True


def _chunk(row: Sequence[Any], also: tuple[str, ...]) -> StoredChunk:
    number, ordinal, name, section, text, header, page, first, last, metadata = row
    passage = Passage(name, section, text, header, page, None if first is None else (first, last))
    return StoredChunk(number, ordinal, passage, json.loads(metadata), tuple(each for each in also if each != name))
