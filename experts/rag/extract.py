"""The expert of `local/extract`: it answers with sentences of the documents, or says that they hold no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experts.base import time_left
from experts.prompt_inputs import inline
from experts.rag.citations import best_quotes
from experts.rag.confidence import ANSWERS, confidence
from experts.rag.index import Hit
from experts.rag.search import SearchingExpert
from experts.rag.sentence_choice import read_quotes
from experts.rag.wording import absent, quoted
from swarm.runtime.thread_pool import in_thread
from swarm.types.plan import Subtask
from swarm.types.result import Citation, Solution

SEARCHED = 5
"""Number of passages from which `local/extract` quotes."""
MAX_QUESTION = 4_000
SENTENCES_MS = 200.0
"""Milliseconds in which the reranker begins with sentences, after it has read the passages."""


class ExtractExpert(SearchingExpert):
    """Answers with quotes from the documents. `data` is `{found, quotes, coverage}`.

    The confidence is the probability that the documents answer the question. Below the card's `abstain` it refuses.
    """

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        question = inline(subtask.instruction, inputs)[:MAX_QUESTION]
        found = await self.search.find(question, SEARCHED)
        least = ANSWERS if self.card.abstain is None else self.card.abstain
        sure = confidence(found)
        hits = [hit for hit in found if confidence([hit]) >= least] if sure >= least else []
        budget = min(SENTENCES_MS, time_left(self.card.timeout) * 250)
        citations = await read_quotes(question, hits, self.search, budget)
        if not citations:
            citations = await in_thread(best_quotes, question, hits, self.search)
        if not citations:
            closest = (await read_quotes(question, found[:1], self.search, budget))[:1]
            return absent(question, self.card.model, closest=closest[0] if closest else _opening(found))
        coverage = max(hit.coverage for hit in hits)
        return Solution(
            text="\n".join(quoted(cited) for cited in citations),
            data={"found": True, "quotes": len(citations), "coverage": round(coverage, 3)},
            citations=tuple(citations),
            confidence=round(sure, 3),
            model=self.card.model,
        )


def _opening(found: Sequence[Hit]) -> Citation | None:
    """The beginning of the best passage, without its headings."""
    return found[0].passage.cite(found[0].passage.shown) if found else None
