"""What a wish asks to be done with a text (translate, summarise, classify, write ...), and which experts do that.

That decides more than likeness: "is this good or bad: 'The bowl came late'" is like an expert on deliveries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from swarm.text.english import stem
from swarm.text.language import NAMES, Language, language
from swarm.text.segments import RequestSegment
from swarm.text.tokens import words_of
from swarm.types.card import JUDGED_BY, Card

DEEDS = ("translate", "summarise", "classify", "write", "calculate", "rewrite")
_DOES = 1.0
"""What is added to the score of an expert that does what is asked for."""


def asked_for(segment: RequestSegment, known: Language) -> frozenset[str]:
    """Return the deeds that a segment asks for by its verb or its words."""
    found = {deed for deed in DEEDS if known.has(f"cue {deed}", segment.words)}
    return frozenset(found | ({segment.verb} & set(DEEDS)))


def adjusted(
    scores: Mapping[str, float], segment: RequestSegment, cards: Mapping[str, Card], known: Language
) -> dict[str, float]:
    """Return the scores of experts with more for those that do what a segment asks for. Documents do nothing."""
    if not (deeds := asked_for(segment, known)):
        return dict(scores)
    working = (card for card in cards.values() if JUDGED_BY.get(card.kind) != "found")
    does = {card.name for card in working if deeds & able(card.name, card.description)}
    return {name: score + _DOES * (name in does) for name, score in scores.items()}


@lru_cache(maxsize=2_048)
def able(name: str, description: str) -> frozenset[str]:
    """Return the deeds that a card names."""
    said = {stem(word) for word in words_of(f"{name.replace('-', ' ')} {description.replace('-', ' ')}")}
    return frozenset(deed for deed in DEEDS if not said.isdisjoint(_meant(deed)))


@lru_cache(maxsize=64)
def _meant(deed: str) -> frozenset[str]:
    return frozenset(_words(deed))


def _words(deed: str) -> Iterator[str]:
    for name in NAMES:
        for phrase in language(name).phrases.get(f"means {deed}", ()):
            if len(phrase) == 1:
                yield stem(phrase[0])
