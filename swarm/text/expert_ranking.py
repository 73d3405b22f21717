"""Which expert a clause fits: BM25 over names and descriptions, in units that do not depend on the catalog's size.

One word that stands in a single description scores about 1; words of a name count three times, words that fit
nearly everything ("find", "write") half.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from swarm.text.bm25 import rarity, saturated
from swarm.text.english import WEAK_STEMS, stems
from swarm.text.tokens import tokens, words_of
from swarm.types.card import Card

THRESHOLD = 0.6
"""What an expert must score to be chosen: most of a word of its own."""
CLEAR = 1.0
"""What it must score if another comes as near."""
NAMED = 10.0
"""What an expert scores that is called by its name."""
MARGIN = 0.02
"""Two experts whose scores differ by no more than this share come as near."""
SPARE_MARGIN = 0.25
"""By how much a fallback must be ahead of the expert that it stands in for: by more than wording."""

_LONGEST = 100
_NAME_WEIGHT = 3
_VERB = 1.5
"""What the verb of a clause counts."""
_FIRST, _FADING, _LEAST = 3, 0.07, 0.3
"""Words of a clause that count in full, what each behind them counts less, and what each counts at least."""
_B = 0.5
"""How much a longer description counts less."""


class Match(NamedTuple):
    expert: str
    score: float


Similar = Callable[[str, Sequence[str]], Mapping[str, float]]
"""How near a text is to experts by meaning: the cosine of each that is worth naming. It may block: planning does."""
_ALIKE, _ALIKE_WORTH = 0.3, 3.0
"""The cosine from which a text means something like a card, and what the rest of the way to 1 adds to a score."""


def mixed(ranked: Sequence[Match], similar: Mapping[str, float]) -> list[Match]:
    """Scores by words and by meaning, added up."""
    scores = dict(ranked)
    for expert, cosine in similar.items():
        if cosine > _ALIKE:
            scores[expert] = scores.get(expert, 0.0) + _ALIKE_WORTH * (cosine - _ALIKE) / (1 - _ALIKE)
    return sorted((Match(*item) for item in scores.items()), key=lambda match: (-match.score, match.expert))


@dataclass(frozen=True, slots=True)
class ExpertIndex:
    """The words of a set of cards: stem -> expert -> what that word adds to its score."""

    postings: Mapping[str, Mapping[str, float]]
    names: Mapping[str, str]
    """Names of several words as they are written elsewhere, `refundpolicy` -> the expert."""

    def ranked(self, meant: Collection[str], verb: str | None = None) -> list[Match]:
        """Experts that share one of these stems, best first; equals in order of name.

        With `verb` the stems are those of one clause in its order, and it is the stem of the verb that commands, or
        empty: what is to be done says more than the details behind it.
        """
        scores: dict[str, float] = {}
        new = tuple.__new__  # called for every clause and every expert that it fits at all
        telling = [stem for stem in meant if stem not in WEAK_STEMS]
        for at, stem in enumerate(telling or meant):
            weight = 1.0 if verb is None else _VERB if stem == verb else max(_LEAST, 1 - _FADING * max(0, at - _FIRST))
            for expert, adds in self.postings.get(stem, {}).items():
                scores[expert] = scores.get(expert, 0.0) + weight * adds
        for stem in WEAK_STEMS.intersection(meant) if telling else ():
            for expert in scores.keys() & self.postings.get(stem, {}).keys():
                scores[expert] += self.postings[stem][expert]
        found = [new(Match, item) for item in scores.items()]
        return sorted(found, key=lambda match: (-match[1], match[0])) if len(found) > 1 else found

    def named(self, said: str) -> str | None:
        """The expert whose name this is, however its words are joined: `refundPolicy`, "refund policy"."""
        if said.isalpha() and said.islower():
            return self.names.get(said)
        return self.names.get(squeezed(said)) if len(said) <= _LONGEST else None

    def knows(self, text: str) -> bool:
        """Whether a text has any word of any expert."""
        words = words_of(text)
        return any(stem in self.postings for stem in stems(words)) or any(self.named(word) for word in words)

    def says(self, expert: str, stem: str) -> bool:
        """Whether the name or the description of an expert has this word."""
        return expert in self.postings.get(stem, {})


def index(cards: Mapping[str, Card]) -> ExpertIndex:
    """Read the cards once; ranking a clause then costs a look-up per word."""
    spares = {spare: name for name, card in cards.items() for spare in card.fallback}
    return _index(tuple((name, card.description, spares.get(name, name)) for name, card in cards.items()))


@lru_cache(maxsize=8)
def _index(cards: tuple[tuple[str, str, str], ...]) -> ExpertIndex:
    """From names, descriptions and families: an expert and its fallbacks do not make each other's words common."""
    counted = {name: _counted(name, description) for name, description, _ in cards}
    families = len({family for _, _, family in cards})
    lengths = {name: sum(words.values()) for name, words in counted.items()}
    mean = sum(lengths.values()) / max(1, len(lengths))
    holders = Counter(stem for stem, _ in {(stem, family) for name, _, family in cards for stem in counted[name]})
    unit = rarity(1, families)
    postings: dict[str, dict[str, float]] = {}
    for name, words in counted.items():
        length = lengths[name] / max(1.0, mean)
        for stem, times in words.items():
            worth = rarity(holders[stem], families) / unit * (0.5 if stem in WEAK_STEMS else 1.0)
            postings.setdefault(stem, {})[name] = worth * saturated(times, length, b=_B)
    return ExpertIndex(postings, {squeezed(name): name for name, _, _ in cards if not name.isalnum()})


def squeezed(name: str) -> str:
    """A name without what joins its words."""
    name = name.lower()
    return name if name.isalnum() else "".join(letter for letter in name if letter.isalnum())


def _counted(name: str, description: str) -> Counter[str]:
    counts = Counter(stem for word in _words(description) for stem in stems((word,)))
    for stem in stems(_words(name)):
        counts[stem] += _NAME_WEIGHT
    return counts


def _words(text: str) -> list[str]:
    return [token.text for token in tokens(text.replace('"', " ").replace("-", " "))]
