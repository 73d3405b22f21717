"""Turns documents into what an index file holds: chunks, which of them are duplicates, and BM25 postings."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from experts.knowledge.index_file import SCHEMA, chunk_hash
from experts.knowledge.languages import ENGLISH, language_of
from experts.knowledge.terms import normal, terms
from experts.rag.chunking import Passage
from swarm.text.bm25 import saturated

B = 0.75
"""How much a longer passage counts less."""
HEADING = 2
"""Number of times that words of the nearest heading count; words of the headings above it count once."""
_PUNCTUATION = " .,;:!?\"'*_()[]"


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


class Posting(NamedTuple):
    """The distinct chunks that have a term, and the term's saturated frequency in each."""

    chunks: array[int]
    impacts: array[float]


@dataclass(frozen=True)
class Analysis:
    """All of an index but the vectors."""

    documents: Sequence[IndexedDocument]
    languages: Sequence[str]
    chunks: Sequence[AnalysedChunk]
    postings: Mapping[str, Posting]

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
            digest.update(chunk_hash(passage))
    return digest.hexdigest()[:16]


def analyse(documents: Sequence[IndexedDocument]) -> Analysis:
    """Number the chunks of the documents, find duplicates, and count the terms of the others."""
    languages = [_language(document) for document in documents]
    chunks: list[AnalysedChunk] = []
    counts: dict[int, Counter[str]] = {}
    first: dict[str, int] = {}
    for number, document in enumerate(documents):
        for ordinal, passage in enumerate(document.passages):
            chunk = len(chunks)
            same = first.setdefault(_plain(passage), chunk)
            chunks.append(AnalysedChunk(number, ordinal, passage, chunk_hash(passage), None if same == chunk else same))
            if same == chunk:
                counts[chunk] = _counts(passage, languages[number])
    return Analysis(documents, languages, chunks, _postings(counts))


def _language(document: IndexedDocument) -> str:
    return language_of(" ".join(passage.text for passage in document.passages[:20])) if document.passages else ENGLISH


def _plain(passage: Passage) -> str:
    """What equals in duplicates: headings and words, whatever the case, the spaces and the marks around words."""
    return " ".join(word.strip(_PUNCTUATION) for word in normal(f"{passage.section}\n{passage.shown}").split())


def _counts(passage: Passage, language: str) -> Counter[str]:
    counts = Counter(terms(passage.shown, language))
    above, _, nearest = passage.section.rpartition(" > ")
    counts.update(terms(above, language) + terms(nearest, language) * HEADING)
    return counts


def _postings(counts: Mapping[int, Counter[str]]) -> dict[str, Posting]:
    mean = max(1.0, sum(each.total() for each in counts.values()) / max(1, len(counts)))
    found: dict[str, Posting] = defaultdict(lambda: Posting(array("i"), array("f")))
    for chunk, each in counts.items():
        length = each.total() / mean
        for term, times in each.items():
            posting = found[term]
            posting.chunks.append(chunk)
            posting.impacts.append(saturated(times, length, b=B))
    return dict(found)
