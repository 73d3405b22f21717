"""The probability that the documents answer a question, by how well the best passages fit it.

It is a logistic curve over the best evidence there is: the reranker's logit; else the share of the question's words
with the meaning; else that share alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from experts.rag.index import Hit

ANSWERS = 0.5
"""Confidence below which `local/extract` refuses, unless the card has `abstain`."""
BY_RERANKER = (0.56, 0.62)
"""Slope and start over the logit of the best passage. Fitted on SQuAD 2.0's development half: every eighth question,
asked of all articles and of all but its own, for every other title. On the other titles (316 cases) 97.5 % of what the
documents answer is accepted and 98.7 % of the rest refused; the mean squared error of the probability is 0.018."""
BY_WORDS_AND_MEANING = (8.95, 1.31, -10.04)
"""Slopes over the covered share of words and over the likeness, and start; fitted likewise: 94.9 % accepted, 98.7 %
refused, error 0.027."""
BY_WORDS = (13.6, -6.32)
"""Slope and start over the covered share; fitted with half of the articles at a time. Its middle is moved from 0.50 to
0.465, so that 94 % are accepted and 87 % refused, instead of 91 % and 91 %."""


def confidence(hits: Sequence[Hit]) -> float:
    """The probability, 0 to 1, that one of these passages answers the question they were found for; 0 without any.

    If the reranker read some of them, only those count.
    """
    read = [hit for hit in hits if hit.relevance is not None] or hits
    return max(map(_of, read), default=0.0)


def _of(hit: Hit) -> float:
    if hit.relevance is not None:
        slope, start = BY_RERANKER
        return _logistic(slope * hit.relevance + start)
    if hit.likeness is not None:
        words, meaning, start = BY_WORDS_AND_MEANING
        return _logistic(words * hit.coverage + meaning * hit.likeness + start)
    slope, start = BY_WORDS
    return _logistic(slope * hit.coverage + start)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, value))))
