"""Detects documents in languages that the stemmer does not handle, where only equal word forms match."""

from __future__ import annotations

import re
from collections import Counter

from experts.knowledge.unspaced_scripts import UNSPACED

LOOKED_AT = 20_000
"""Maximum characters of a document that are read."""
SHORTEST = 30
"""Minimum number of words for a decision."""
ENOUGH = 0.08
"""Minimum share of a language's function words in a text; in English texts it is about 0.25."""

GRAMMAR = {
    "English": "the of and to is that for it with as are be by this from or not you your we if have will",
    "German": "der die das und ist nicht mit für von den dem ein eine einen zu auf wird werden sich im bei oder wenn",
    "French": "le la les des et est une un pour dans que qui vous nous sur pas avec ou du au aux sont être",
    "Spanish": "el la los las de y es una un para que en por con del no se su al o si son ser",
    "Italian": "il lo gli le di e è una un per che in con del della non si su dei o se sono essere",
    "Portuguese": "o os as de e é uma um para que em por com do da não se no na dos ou são ser",
    "Dutch": "de het een en is niet van voor met op dat die te aan bij of als wordt worden zijn om",
}
_GRAMMAR = {language: frozenset(words.split()) for language, words in GRAMMAR.items()}
_WORD = re.compile(r"[^\W\d_]+")


def uncut(text: str) -> str:
    """The language or script of a text that is not stemmed; empty for English and CJK.

    >>> uncut("Die Ware wird bei der Lieferung geprüft, und der Kunde hat das Recht, sie nicht zu nehmen. " * 2)
    'German'
    """
    words = _WORD.findall(text[:LOOKED_AT].lower())
    spaced = [word for word in words if not UNSPACED.search(word)]
    if len(spaced) < SHORTEST or len(spaced) < len(words) / 2:
        return ""
    if sum(min(word) > "\u024f" for word in spaced) > len(spaced) / 2:
        return "another script than Latin"
    counts = Counter(spaced)
    shares = {language: sum(counts[word] for word in grammar) / len(spaced) for language, grammar in _GRAMMAR.items()}
    best = max(shares, key=lambda language: shares[language])
    return best if best != "English" and shares[best] >= ENOUGH else ""
