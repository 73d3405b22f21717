"""A light stemmer for English: endings are cut so that `returned`, `returns` and `returning` meet."""

from __future__ import annotations

import re
from functools import lru_cache

_VOWEL = re.compile(r"[aeiouy]")
_DOUBLE = re.compile(r"([bcdfgklmnprtvz])\1$")
_ENDINGS = (
    "ational", "ization", "isation", "fulness", "iveness", "ousness", "ability", "ibility", "ements", "ement", "ment",
    "ations", "ation", "ness", "ition", "ally", "fully", "ingly", "edly", "ates", "ated", "ating", "ate", "ize",
    "ise", "ance", "ence", "able", "ible", "ial", "al", "ful", "ive", "ion", "ity", "ly",
)  # fmt: skip


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of a word in lower case. Short words and those with digits stay as they are.

    >>> stem("returned"), stem("returns"), stem("returning")
    ('return', 'return', 'return')
    >>> stem("delivery"), stem("deliveries"), stem("delivered")
    ('deliver', 'deliver', 'deliver')
    """
    if len(word) < 4 or not word.isalpha() or not word.isascii():
        return word
    word = _tense(_plural(word))
    for ending in _ENDINGS:
        if word.endswith(ending) and _stands(base := word[: -len(ending)]):
            word = base
            break
    return _tidy(word)


def _plural(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _tense(word: str) -> str:
    for ending in ("ing", "ed"):
        base = word.removesuffix(ending)
        if base != word and len(base) > 2 and _VOWEL.search(base) and not base.endswith("e"):
            return base
    return word


def _stands(base: str) -> bool:
    """Whether enough is left to tell one word from another."""
    return len(base) > 3 and _VOWEL.search(base) is not None


def _tidy(word: str) -> str:
    """Final letters that come and go with endings: a doubled consonant, an e, y or i."""
    if _DOUBLE.search(word):
        return word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith(("y", "e", "i")) else word
