"""The interface of a store of passages: search by words and by vectors, filters, neighbours.

A store is immutable: a change of the documents makes a new store with another version. Its methods block, and any
number of threads may call them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from experts.knowledge.passages import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Where = Mapping[str, str | Sequence[str]]
"""A filter of documents: each field has the value, or one of the values. `document` is a path or the start of one,
`title` and `language` are the document's, every other name is a field of its metadata."""


class Term(NamedTuple):
    """A word of a question: a passage has it if it has any of its stems."""

    stems: tuple[str, ...]
    weight: float = 1.0
    needed: bool = True
    """Whether a passage without the word covers less of the question."""


class ChunkScore(NamedTuple):
    """A chunk's score; higher is better."""

    chunk: int
    score: float


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of a store, with the number of its chunks and the number of the first one."""

    name: str
    title: str
    language: str
    metadata: Mapping[str, str]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A passage with its number in the store, its position in its document, and the document's metadata."""

    id: int
    ordinal: int
    passage: Passage
    metadata: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    """Other documents with the same text; they are found through this chunk."""


class KnowledgeStore(Protocol):
    """Passages of one version of an expert's documents."""

    @property
    def version(self) -> str:
        """Hash of the documents, the encoder's identity and the format: 16 hexadecimal digits."""
        ...

    @property
    def encoder(self) -> str:
        """Identity of the encoder that made the vectors; empty for a store of words alone."""
        ...

    @property
    def size(self) -> int:
        """Number of distinct chunks that can be found."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the documents, the commonest first."""
        ...

    def holders(self, stems: Sequence[str]) -> Mapping[str, int]:
        """The number of distinct chunks that have each of these stems; those of no chunk are left out."""
        ...

    def search_text(self, terms: Sequence[Term], count: int, where: Where | None = None) -> list[ChunkScore]:
        """The `count` best chunks by BM25, best first. Each has at least one of the terms."""
        ...

    def covered(self, terms: Sequence[Term], chunks: Sequence[int]) -> dict[int, float]:
        """The share of the needed terms' weight that each of these chunks has, 0 to 1."""
        ...

    def search_vectors(self, vector: NDArray[np.float32], count: int, where: Where | None = None) -> list[ChunkScore]:
        """The `count` nearest chunks by cosine, nearest first. `vector`: shape (dimension,), of length 1."""
        ...

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[int]) -> dict[int, float]:
        """The cosine of each of these chunks with `vector`."""
        ...

    def chunks(self, numbers: Sequence[int]) -> list[StoredChunk]:
        """These chunks, in the order of `numbers`. Raises KeyError for a number that no chunk has."""
        ...

    def neighbours(self, number: int, before: int = 1, after: int = 1) -> list[StoredChunk]:
        """A chunk with those before and after it in its document, in reading order."""
        ...

    def document_chunks(self, name: str) -> list[StoredChunk]:
        """All chunks of a document in reading order. Raises KeyError if there is no such document."""
        ...

    def documents(self) -> Sequence[StoredDocument]:
        """The documents, ordered by name."""
        ...

    def close(self) -> None:
        """Close the store. It is not used afterwards."""
        ...
