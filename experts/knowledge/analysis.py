"""Turns documents into what an index file holds: chunks, which of them are duplicates, and postings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from experts.knowledge.former_index import FormerIndex
from experts.knowledge.index_file import SCHEMA, chunk_hash
from experts.knowledge.languages import ENGLISH, language_of
from experts.knowledge.passages import Passage
from experts.knowledge.postings import Postings, count_terms
from experts.knowledge.terms import normal

NOTHING = FormerIndex()


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document with its passages in reading order."""

    name: str
    passages: Sequence[Passage]
    title: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class AnalysedChunk(NamedTuple):
    """A passage with its document's number, its hash, and the earlier chunk with the same text, if there is one."""

    document: int
    ordinal: int
    passage: Passage
    hash: bytes
    same_as: int | None


@dataclass(frozen=True)
class Analysis:
    """All of an index but the vectors."""

    documents: Sequence[IndexedDocument]
    languages: Sequence[str]
    chunks: Sequence[AnalysedChunk]
    postings: Postings

    @property
    def distinct(self) -> list[AnalysedChunk]:
        """The chunks that are no duplicate of an earlier one."""
        return [chunk for chunk in self.chunks if chunk.same_as is None]


def version_of(documents: Sequence[IndexedDocument], encoder: str) -> str:
    """The version of an index: the hash of the documents, the encoder's identity and the format."""
    digest = sha256(f"{SCHEMA}\0{encoder}".encode())
    for document in documents:
        digest.update(repr((document.name, document.title, sorted(document.metadata.items()))).encode())
        for passage in document.passages:
            digest.update(chunk_hash(passage) + repr((passage.page, passage.lines)).encode())
    return digest.hexdigest()[:16]


def analyse(documents: Sequence[IndexedDocument], former: FormerIndex = NOTHING) -> Analysis:
    """Number the chunks of the documents, find duplicates, and count the terms of those that `former` lacks."""
    languages = [_language(document) for document in documents]
    chunks: list[AnalysedChunk] = []
    counts: dict[int, Counter[str]] = {}
    places = np.full(former.total, -1, np.int32)
    first: dict[str, int] = {}
    for number, document in enumerate(documents):
        language = languages[number]
        for ordinal, passage in enumerate(document.passages):
            chunk, digest = len(chunks), chunk_hash(passage)
            same = first.setdefault(_plain(passage), chunk)
            chunks.append(AnalysedChunk(number, ordinal, passage, digest, None if same == chunk else same))
            if same != chunk:
                continue
            if (known := former.numbers.get((digest, language))) is not None:
                places[known] = chunk
            else:
                counts[chunk] = count_terms(passage, language)
    return Analysis(documents, languages, chunks, former.postings.moved(places).joined(Postings.counted(counts)))


def _language(document: IndexedDocument) -> str:
    return language_of(" ".join(passage.text for passage in document.passages[:20])) if document.passages else ENGLISH


def _plain(passage: Passage) -> str:
    """What equals in duplicates: headings and text, whatever the case, the spaces and the mark at the end."""
    return " ".join(normal(f"{passage.section}\0{passage.shown}").split()).rstrip(" .,;:!?")
