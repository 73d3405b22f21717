"""Chooses the sentences that answer a question by the reranker, which reads each with the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from experts.knowledge.index_file import encoded_text
from experts.knowledge.passages import Passage, sentences
from experts.rag.citations import checked, is_quotable, on_one_line, stands
from experts.rag.index import Hit
from experts.rag.search import PassageSearch
from swarm.types.result import Citation

READ = 3
"""Passages whose sentences are read."""
MOST = 4
"""Sentences of an answer."""
NEAR = 4.0
"""A sentence is quoted beside the best one if its score is at most this much lower. On SQuAD, 2 loses one answer in 50,
and 9 makes answers a quarter longer for one in 100."""
PASSAGE = 0.5
"""Weight of a passage's score beside the logit of its sentence; 0.25 and 1 are as good on SQuAD."""


class _Scored(NamedTuple):
    passage: int
    place: int
    text: str
    score: float


async def read_quotes(question: str, hits: Sequence[Hit], search: PassageSearch, budget_ms: float) -> list[Citation]:
    """The best sentences of the hits, those of the best passage first, each passage in reading order.

    Sentences that follow each other are one quote. Empty if the reranker did not read the hits, or if the best one is
    of a table, whose rows are better told apart by their words.
    """
    read = [hit for hit in hits if hit.relevance is not None][:READ]
    if not read or any(sentence.header for sentence in sentences(read[0].passage)):
        return []
    told = [
        (number, place, sentence.text)
        for number, hit in enumerate(read)
        for place, sentence in enumerate(sentences(hit.passage))
        if not sentence.header and is_quotable(sentence)
    ]
    texts = [encoded_text(replace(read[number].passage, text=text, header="")) for number, _, text in told]
    logits = await search.judge(question, texts, budget_ms) if texts else None
    if not logits:
        return []
    scored = [
        _Scored(*each, logit + PASSAGE * read[each[0]].ranking) for each, logit in zip(told, logits, strict=False)
    ]
    chosen = _chosen(scored)
    order = dict.fromkeys(each.passage for each in sorted(chosen, key=lambda each: -each.score))
    return checked(
        (passage.cite(quote), passage)
        for number in order
        for passage in (read[number].passage,)
        for quote in _runs([each for each in chosen if each.passage == number], passage)
    )


def _chosen(scored: Sequence[_Scored]) -> list[_Scored]:
    """The best sentences, and the better neighbour of the best one, in reading order."""
    ranked = sorted(scored, key=lambda each: -each.score)
    best = ranked[0]
    beside = [each for each in ranked if each.passage == best.passage and abs(each.place - best.place) == 1]
    near = [each for each in ranked[1:] if each.score >= best.score - NEAR]
    return sorted(list(dict.fromkeys([best, *beside[:1], *near]))[:MOST])


def _runs(chosen: Sequence[_Scored], passage: Passage) -> list[str]:
    """The quotes of one passage: sentences that follow each other are joined where they do so in the passage."""
    found: list[str] = []
    for _, run in groupby(enumerate(chosen), key=lambda pair: pair[1].place - pair[0]):
        parts = [on_one_line(each.text) for _, each in run]
        whole = " ".join(parts)
        found += [whole] if stands(whole, passage.shown) else parts
    return found
