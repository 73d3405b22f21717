"""Finds the passages that answer a question: by words and by meaning, fused, and the best of them reranked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experts.knowledge.fusion import fused
from experts.knowledge.index_file import REBUILD, encoded_text
from experts.knowledge.languages import ENGLISH
from experts.knowledge.passages import Passage
from experts.knowledge.question import Naming, question_terms
from experts.knowledge.store import KnowledgeStore, StoredChunk, Term, Where
from swarm.errors import MissingDependency, UnusableInput
from swarm.runtime.thread_pool import in_thread

if TYPE_CHECKING:
    from swarm.encoder.base import Encoder, Reranker

IsEnglish = Callable[[str], Awaitable[bool]]

CANDIDATES = 100
"""Chunks that each search contributes to the fusion."""
RERANKED = 10
"""Chunks that the reranker reads, as far as its budget goes: each takes about 40 ms. More gain nothing on SQuAD."""
FUSED_WEIGHT = 4.0
"""Weight of the fused score, in standard deviations, beside the reranker's logit. On 664 questions of SQuAD, any weight
from 2 to 6 gains half a point of MRR over the logits alone."""
BUDGET_MS = 220.0
"""Milliseconds in which the reranker begins with passages, so that it ends within 300; the others keep their order."""


@dataclass(frozen=True, slots=True)
class RetrievedPassage:
    """A passage with every score that it has. `coverage`: the share of the question's weight that its words cover."""

    passage: Passage
    score: float
    """The score by which it was ranked: the fused one; for passages that the reranker read, which come first, its
    logit plus FUSED_WEIGHT times the fused one."""
    coverage: float
    chunk: int
    fused: float = 0.0
    """Words and meaning together; the words alone without an encoder."""
    words: float = 0.0
    """BM25; 0 if it is not among the best by words."""
    cosine: float | None = None
    """None without an encoder."""
    reranked: float | None = None
    """The reranker's logit; None if it did not read the passage."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    """Other documents with the same text."""


class Retriever:
    """Searches a store. Any number of questions may be asked at once.

    `encoder` must be the one that made the store's vectors; a store of words alone needs none. The reranker reads
    questions only that `is_english` accepts, over documents in English.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        *,
        encoder: Encoder | None = None,
        reranker: Reranker | None = None,
        is_english: IsEnglish | None = None,
        naming: Naming | None = None,
    ) -> None:
        """Raises MissingDependency without the store's encoder, and UnusableInput with another one."""
        if store.encoder and encoder is None:
            raise MissingDependency(f"the documents were indexed with {store.encoder}, which is not installed here")
        if encoder is not None and store.encoder and encoder.identity != store.encoder:
            raise UnusableInput(
                f"the documents were indexed with {store.encoder}, and this worker has {encoder.identity}; "
                f"give it the same encoder, or {REBUILD}"
            )
        self.store, self.reranker, self.is_english, self.naming = store, reranker, is_english, naming or Naming()
        self.encoder = encoder if store.encoder else None
        self.budget_ms: float | None = BUDGET_MS

    async def search(self, question: str, count: int = 5, where: Where | None = None) -> list[RetrievedPassage]:
        """The `count` best passages, best first. Raises what the encoder and the reranker raise."""
        vector = (await self.encoder.encode([question], kind="query"))[0] if self.encoder else None
        found = await in_thread(self._fused, question, vector, max(count, RERANKED), where)
        texts = [encoded_text(each.passage) for each in found[:RERANKED]]
        if texts and (logits := await self.judge(question, texts, self.budget_ms)) is not None:
            found = _reranked(found, logits)
        return found[:count]

    async def judge(self, question: str, texts: Sequence[str], budget_ms: float | None) -> list[float] | None:
        """The reranker's logits of the first texts; None without one, or if question or documents are not English."""
        if self.reranker is None or not await self._in_english(question):
            return None
        logits: list[float] = (await self.reranker.score(question, texts, budget_ms=budget_ms)).tolist()
        return logits

    def terms(self, question: str) -> list[Term]:
        """The weighted words of a question. Blocks."""
        return question_terms(question, self.store, self.naming)

    def _fused(
        self, question: str, vector: NDArray[np.float32] | None, count: int, where: Where | None
    ) -> list[RetrievedPassage]:
        terms = self.terms(question)
        by_words = dict(self.store.search_text(terms, CANDIDATES, where))
        if vector is None:
            scores, cosines = by_words, {}
        else:
            near = [number for number, _ in self.store.search_vectors(vector, CANDIDATES, where)]
            cosines = self.store.cosines(vector, [*dict.fromkeys([*by_words, *near])])
            scores = fused(by_words, cosines)
        best = sorted(scores, key=lambda number: (-scores[number], number))[:count]
        covered = self.store.covered(terms, best)
        return [
            RetrievedPassage(
                chunk.passage,
                scores[chunk.id],
                covered[chunk.id],
                chunk.id,
                scores[chunk.id],
                by_words.get(chunk.id, 0.0),
                cosines.get(chunk.id),
                metadata=chunk.metadata,
                also=chunk.also,
            )
            for chunk in self.store.chunks(best)
        ]

    async def _in_english(self, question: str) -> bool:
        """Whether question and documents are in English, the one language of the reranker."""
        if self.store.languages[:1] != (ENGLISH,):
            return False
        return self.is_english is None or await self.is_english(question)


def _reranked(found: Sequence[RetrievedPassage], logits: Sequence[float]) -> list[RetrievedPassage]:
    """The passages with those that the reranker read first, by its logits and the fused scores."""
    read = [
        replace(each, reranked=logit, score=logit + FUSED_WEIGHT * each.fused)
        for each, logit in zip(found, logits, strict=False)
    ]
    return [*sorted(read, key=lambda each: -each.score), *found[len(read) :]]


def joined(store: KnowledgeStore, found: Sequence[RetrievedPassage], around: int = 0) -> list[RetrievedPassage]:
    """Join passages that stand beside each other in one section, each with `around` neighbours on either side.

    A joined passage stands at the place of its best part, in reading order. Table rows with a header are left alone.
    """
    chunks: dict[int, StoredChunk] = {}
    groups: dict[int, int] = {}
    for each in found:
        for chunk in store.neighbours(each.chunk, around, around):
            if chunk.id == each.chunk or _fits_together(chunk.passage, each.passage):
                chunks[chunk.id] = chunk
    start = None
    for number in sorted(chunks):
        before = chunks.get(number - 1)
        if before is None or not _fits_together(before.passage, chunks[number].passage):
            start = number
        groups[number] = start if start is not None else number
    best: dict[int, RetrievedPassage] = {}
    for each in found:
        best.setdefault(groups[each.chunk], each)
    return [
        replace(each, passage=_whole([chunks[n].passage for n in sorted(chunks) if groups[n] == group]))
        for group, each in best.items()
    ]


def _fits_together(one: Passage, other: Passage) -> bool:
    same = (one.document, one.section, one.page) == (other.document, other.section, other.page)
    return same and not one.header and not other.header


def _whole(passages: Sequence[Passage]) -> Passage:
    first, last = passages[0], passages[-1]
    lines = (first.lines[0], last.lines[1]) if first.lines and last.lines else None
    return replace(first, text="\n\n".join(passage.text for passage in passages), lines=lines)
