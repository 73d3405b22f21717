"""Which terms each chunk has, and how often: counted from text, or taken over from an earlier index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experts.knowledge.passages import Passage
from experts.knowledge.terms import terms

HEADING = 2
"""Number of times that words of the nearest heading count; words of the headings above it count once."""

Chunks = NDArray[np.int32]
Counts = NDArray[np.uint16]


@dataclass(frozen=True)
class Postings:
    """One entry for each term of each chunk: `vocabulary[term[i]]` occurs `count[i]` times in the chunk `chunk[i]`."""

    vocabulary: Sequence[str]
    term: NDArray[np.int32]
    chunk: Chunks
    count: Counts

    @classmethod
    def counted(cls, counts: Mapping[int, Mapping[str, int]]) -> Postings:
        """The postings of chunks whose terms are counted."""
        numbers: dict[str, int] = {}
        term: list[int] = []
        count: list[int] = []
        for each in counts.values():
            term += [numbers.setdefault(name, len(numbers)) for name in each]
            count += each.values()
        chunk = np.repeat(np.fromiter(counts, np.int32, len(counts)), [len(each) for each in counts.values()])
        return cls(list(numbers), np.array(term, np.int32), chunk, np.minimum(count, 65_535).astype(np.uint16))

    @classmethod
    def stored(cls, rows: Sequence[tuple[str, bytes, bytes]]) -> Postings:
        """The postings of an index file, from its rows of term, chunks and counts."""
        chunk = np.frombuffer(b"".join(row[1] for row in rows), np.int32)
        count = np.frombuffer(b"".join(row[2] for row in rows), np.uint16)
        sizes = [len(row[2]) // 2 for row in rows]
        return cls([row[0] for row in rows], np.repeat(np.arange(len(rows), dtype=np.int32), sizes), chunk, count)

    def moved(self, places: NDArray[np.int32]) -> Postings:
        """The postings of the chunks that have a new number in `places`; those with -1 there are dropped."""
        chunk = places[self.chunk]
        kept = chunk >= 0
        return Postings(self.vocabulary, self.term[kept], chunk[kept], self.count[kept])

    def joined(self, other: Postings) -> Postings:
        """The postings of the chunks of both, which have no chunk in common."""
        numbers = {term: number for number, term in enumerate(self.vocabulary)}
        places = [numbers.setdefault(term, len(numbers)) for term in other.vocabulary]
        return Postings(
            list(numbers),
            np.concatenate([self.term, np.asarray(places, np.int32)[other.term]]),
            np.concatenate([self.chunk, other.chunk]),
            np.concatenate([self.count, other.count]),
        )

    def lengths(self, chunks: int) -> NDArray[np.float32]:
        """The number of terms of each of so many chunks, in units of the mean of those that have terms."""
        found = np.bincount(self.chunk, self.count, chunks).astype(np.float32)
        having = found[found > 0]
        return found / np.float32(having.mean()) if len(having) else found

    def rows(self) -> Iterator[tuple[str, bytes, bytes]]:
        """For each term in order, its chunks in order (int32) and its counts in them (uint16)."""
        order = np.lexsort((self.chunk, self.term))
        term, chunk, count = self.term[order], self.chunk[order], self.count[order]
        used, starts, sizes = np.unique(term, return_index=True, return_counts=True)
        found = zip((self.vocabulary[number] for number in used), starts, starts + sizes, strict=True)
        for name, start, end in sorted(found):
            yield name, chunk[start:end].tobytes(), count[start:end].tobytes()


def count_terms(passage: Passage, language: str) -> Counter[str]:
    """How often each term occurs in a passage and in the headings above it."""
    counts = Counter(terms(passage.shown, language))
    above, _, nearest = passage.section.rpartition(" > ")
    counts.update(terms(above, language) + terms(nearest, language) * HEADING)
    return counts
