"""Which expert a clause fits: BM25 over names and descriptions, in units that do not depend on the catalog's size.

One word that stands in a single description scores about 1; words of a name count three times, words that fit
nearly everything ("find", "write") half.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from swarm.models import Card
from swarm.planner.tokens import tokens
from swarm.planner.words import WEAK_STEMS, stems

THRESHOLD = 0.6
"""What an expert must score to be chosen: most of a word of its own."""
CLEAR = 1.0
"""What it must score if another comes as near."""
MARGIN = 0.02
"""Two experts whose scores differ by no more than this share come as near."""
SPARE_MARGIN = 0.25
"""By how much a fallback must be ahead of the expert that it stands in for: by more than wording."""

_NAME_WEIGHT = 3
_K1, _B = 1.2, 0.5


class Match(NamedTuple):
    expert: str
    score: float


@dataclass(frozen=True, slots=True)
class Index:
    """The words of a set of cards: stem -> expert -> what that word adds to its score."""

    postings: Mapping[str, Mapping[str, float]]

    def ranked(self, meant: Collection[str]) -> list[Match]:
        """Experts that share one of these stems, best first; equals in order of name."""
        scores: dict[str, float] = {}
        telling = [stem for stem in meant if stem not in WEAK_STEMS]
        for stem in telling or meant:
            for expert, adds in self.postings.get(stem, {}).items():
                scores[expert] = scores.get(expert, 0.0) + adds
        for stem in WEAK_STEMS.intersection(meant) if telling else ():
            for expert in scores.keys() & self.postings.get(stem, {}).keys():
                scores[expert] += self.postings[stem][expert]
        return sorted((Match(*item) for item in scores.items()), key=lambda match: (-match.score, match.expert))

    def says(self, expert: str, stem: str) -> bool:
        """Whether the name or the description of an expert has this word."""
        return expert in self.postings.get(stem, {})


def index(cards: Mapping[str, Card]) -> Index:
    """Read the cards once; ranking a clause then costs a look-up per word."""
    spares = {spare: name for name, card in cards.items() for spare in card.fallback}
    return _index(tuple((name, card.description, spares.get(name, name)) for name, card in cards.items()))


@lru_cache(maxsize=8)
def _index(cards: tuple[tuple[str, str, str], ...]) -> Index:
    """From names, descriptions and families: an expert and its fallbacks do not make each other's words common."""
    counted = {name: _counted(name, description) for name, description, _ in cards}
    families = len({family for _, _, family in cards})
    lengths = {name: sum(words.values()) for name, words in counted.items()}
    mean = sum(lengths.values()) / max(1, len(lengths))
    holders = Counter(stem for stem, _ in {(stem, family) for name, _, family in cards for stem in counted[name]})
    unit = _rarity(1, families)
    postings: dict[str, dict[str, float]] = {}
    for name, words in counted.items():
        norm = _K1 * (1 - _B + _B * lengths[name] / max(1.0, mean))
        for stem, times in words.items():
            worth = _rarity(holders[stem], families) / unit * (0.5 if stem in WEAK_STEMS else 1.0)
            postings.setdefault(stem, {})[name] = worth * times * (_K1 + 1) / (times + norm)
    return Index(postings)


def _counted(name: str, description: str) -> Counter[str]:
    counts = Counter(stem for word in _words(description) for stem in stems((word,)))
    for stem in stems(_words(name)):
        counts[stem] += _NAME_WEIGHT
    return counts


def _words(text: str) -> list[str]:
    return [token.text for token in tokens(text.replace('"', " ").replace("-", " "))]


def _rarity(holders: int, families: int) -> float:
    return math.log(1 + (families - holders + 0.5) / (holders + 0.5))
