"""BM25 weights: the rarity of a term among documents, and its saturated frequency in one document.

The score of a document is the sum over the query's terms of `rarity * saturated`.
"""

from __future__ import annotations

import math

K1 = 1.2


def rarity(holders: int, documents: int) -> float:
    """The inverse document frequency of a term that `holders` of `documents` have. Always positive.

    >>> rarity(0, 9) > rarity(1, 9) > rarity(9, 9) > 0
    True
    """
    return math.log(1 + (documents - holders + 0.5) / (holders + 0.5))


def saturated(times: int, length: float = 1.0, *, b: float = 0.0) -> float:
    """The frequency of a term with diminishing returns: 1 for one occurrence, at most K1 + 1.

    `length` is the document's, in units of the mean; `b` says how much a longer document counts less.

    >>> saturated(1), saturated(2), round(saturated(2, 3.0, b=0.75), 3)
    (1.0, 1.375, 0.88)
    """
    return times * (K1 + 1) / (times + K1 * (1 - b + b * length))
