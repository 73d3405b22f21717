"""Searches passages with BM25 over stems; the headings above a passage count as part of its text.

Compared with SQLite's full-text index, it is within half a point on SQuAD, it reports which share of a question a
passage covers (so that `local/extract` can refuse), and it is thread-safe.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from experts.knowledge.languages import ENGLISH
from experts.knowledge.passages import Passage
from experts.knowledge.postings import count_terms
from experts.knowledge.question import NAMING
from experts.knowledge.sqlite_store import B
from experts.knowledge.terms import normal, shading, terms, words
from experts.knowledge.unspaced_scripts import UNSPACED, borders
from swarm.runtime.thread_pool import in_thread
from swarm.text.bm25 import rarity, saturated
from swarm.text.english import stem


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage with its score. `coverage`: the share of the question's weight that its words cover."""

    passage: Passage
    score: float
    coverage: float
    ranking: float = 0.0
    """The score that ordered the passages, where they were found by more than words."""
    likeness: float | None = None
    """Standard deviations of its cosine above that of unrelated texts; None without an encoder."""
    relevance: float | None = None
    """The reranker's logit; None if it did not read the passage."""


class PassageIndex:
    """An immutable search index of passages. Any number of threads may search it at once.

    `name` and `about` describe the documents. A question may use their words only to address the expert ("what does the
    refund policy say ..."): they need not occur in a passage, and those of the name count less.
    """

    def __init__(self, passages: Sequence[Passage], name: str = "", about: str = "") -> None:
        self.passages = tuple(passages)
        self.size = len(self.passages)
        self._name, self._about = frozenset(terms(name)), frozenset(terms(f"{name} {about}"))
        self._lengths: list[int] = []
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, passage in enumerate(self.passages):
            counts = count_terms(passage, ENGLISH)
            self._lengths.append(counts.total())
            for term, count in counts.items():
                self._postings[term].append((number, count))
        self._mean = max(1.0, sum(self._lengths) / max(1, len(self._lengths)))

    def weight(self, term: str) -> float:
        """The weight of a term: its rarity, less for a term of the name. A term that occurs nowhere weighs most."""
        seen = len(self._postings.get(term, ()))
        weight = rarity(seen, len(self.passages))
        return weight * NAMING if term in self._name else weight

    def asked(self, question: str) -> tuple[str, ...]:
        """The distinct stems of a question's content words; of all its words if it has stop words only."""
        found = terms(question) or [stem(word) for word in words(question)]
        return tuple(dict.fromkeys(t for t in found if t in self._postings or t not in self._about))

    def needed(self, question: str) -> frozenset[str]:
        """The stems that a passage should have: those of `asked` without words of mood and frequency."""
        asked = self.asked(question)
        crossing = borders(normal(question), self._postings) if UNSPACED.search(question) else set()
        return frozenset(asked) - shading(question) - crossing or frozenset(asked)

    async def find(self, question: str, count: int, *, join: bool = False) -> list[Hit]:
        """The `count` best passages for `question`, searched in a thread; none are joined."""
        return await in_thread(self.search, question, count)

    async def judge(self, question: str, texts: Sequence[str], budget_ms: float) -> list[float] | None:
        """None: no reranker reads for an index of words alone."""
        return None

    def weights(self, question: str) -> dict[str, float]:
        """The weight of each of the stems of `asked`."""
        return {term: self.weight(term) for term in self.asked(question)}

    def stems(self, text: str) -> set[str]:
        """The stems of a text's content words."""
        return set(terms(text))

    def search(self, question: str, count: int = 5) -> list[Hit]:
        """The `count` best passages for `question`, best first. Each shares at least one term with it."""
        asked, needed = self.asked(question), self.needed(question)
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        for term in asked:
            weight = self.weight(term)
            for number, times in self._postings.get(term, ()):
                scores[number] += weight * saturated(times, self._lengths[number] / self._mean, b=B)
                covered[number] += weight if term in needed else 0.0
        whole = sum(self.weight(term) for term in needed) or 1.0
        best = nlargest(count, scores, key=lambda number: (scores[number], -number))
        return [Hit(self.passages[number], scores[number], covered[number] / whole) for number in best]
