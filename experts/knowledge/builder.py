"""Builds the index file of an expert's documents. Only passages that an earlier file lacks are encoded."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from experts.knowledge.analysis import AnalysedChunk, Analysis, IndexedDocument, analyse, version_of
from experts.knowledge.former_index import FormerIndex
from experts.knowledge.index_file import APPLICATION, BLOCK, SCHEMA, TABLES, encoded_text, open_index
from swarm.errors import UnusableInput
from swarm.runtime.thread_pool import in_thread

if TYPE_CHECKING:
    from swarm.encoder.base import Encoder

AT_ONCE = 256
"""Passages that are given to the encoder at once."""

Progress = Callable[[int, int], None]
"""Is told how many passages are encoded, and of how many."""
Floats = NDArray[np.float32]


async def build(
    documents: Sequence[IndexedDocument],
    folder: Path,
    *,
    encoder: Encoder | None = None,
    former: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Build the index of `documents` in `folder`, and return its file, named by its version.

    A file that is there already and sound is returned as it is. Vectors and terms of unchanged passages are taken from
    `former`, an earlier file. Equal documents give an equal name. Raises what the encoder raises, and OSError.
    """
    identity = encoder.identity if encoder else ""
    version = await in_thread(version_of, documents, identity)
    path = folder / f"{version}.sqlite"
    if await in_thread(is_sound, path, version):
        return path
    known = await in_thread(FormerIndex.read, former, identity)
    analysis = await in_thread(analyse, documents, known)
    vectors = await _vectors(analysis.distinct, encoder, known.vectors, progress) if encoder else None
    await in_thread(_write, path, version, identity, analysis, vectors)
    return path


def is_sound(path: Path, version: str) -> bool:
    """Whether a file is an undamaged index of this version."""
    with suppress(UnusableInput, sqlite3.DatabaseError, OSError), closing(open_index(path)) as db:
        found = db.execute("select value from meta where name = 'version'").fetchone()
        return bool(found == (version,) and db.execute("pragma quick_check(1)").fetchone() == ("ok",))
    return False


async def _vectors(
    chunks: Sequence[AnalysedChunk], encoder: Encoder, known: Mapping[bytes, Floats], progress: Progress | None
) -> Floats:
    found = np.empty((len(chunks), encoder.dimension), np.float32)
    new = [row for row, chunk in enumerate(chunks) if chunk.hash not in known]
    for row, chunk in enumerate(chunks):
        if chunk.hash in known:
            found[row] = known[chunk.hash]
    for start in range(0, len(new), AT_ONCE):
        rows = new[start : start + AT_ONCE]
        found[rows] = await encoder.encode([encoded_text(chunks[row].passage) for row in rows], kind="passage")
        if progress:
            progress(min(start + AT_ONCE, len(new)), len(new))
    return found


def _write(path: Path, version: str, encoder: str, analysis: Analysis, vectors: Floats | None) -> None:
    """Write a whole index beside its place, and move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as db:
            db.execute(f"pragma application_id = {APPLICATION}")
            db.execute(f"pragma user_version = {SCHEMA}")
            db.execute("pragma journal_mode = off")
            db.execute("pragma synchronous = off")
            db.executescript(TABLES)
            db.execute("begin")
            _insert(db, version, encoder, analysis, vectors)
            db.execute("commit")
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _insert(db: sqlite3.Connection, version: str, encoder: str, analysis: Analysis, vectors: Floats | None) -> None:
    languages = Counter(language for language in analysis.languages if language)
    meta = {
        "version": version, "encoder": encoder, "size": len(analysis.distinct), "total": len(analysis.chunks),
        "dimension": 0 if vectors is None else vectors.shape[1],
        "languages": " ".join(language for language, _ in languages.most_common()),
    }  # fmt: skip
    db.executemany("insert into meta values (?, ?)", ((name, str(value)) for name, value in sorted(meta.items())))
    first = 0
    for number, document in enumerate(analysis.documents):
        metadata = json.dumps(dict(document.metadata), sort_keys=True, ensure_ascii=False)
        row = (number, document.name, document.title, analysis.languages[number], metadata, first)
        db.execute("insert into document values (?, ?, ?, ?, ?, ?, ?)", (*row, len(document.passages)))
        first += len(document.passages)
    db.executemany(
        "insert into chunk values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                number, chunk.document, chunk.ordinal, chunk.passage.section, chunk.passage.header, chunk.passage.text,
                chunk.passage.page, *(chunk.passage.lines or (None, None)), chunk.hash, chunk.same_as,
            )
            for number, chunk in enumerate(analysis.chunks)
        ),
    )  # fmt: skip
    db.executemany("insert into posting values (?, ?, ?)", analysis.postings.rows())
    db.execute("insert into length values (?)", (analysis.postings.lengths(len(analysis.chunks)).tobytes(),))
    if vectors is not None:
        blocks = range(0, len(vectors), BLOCK)
        db.executemany("insert into vector values (?, ?)", ((at, vectors[at : at + BLOCK].tobytes()) for at in blocks))
