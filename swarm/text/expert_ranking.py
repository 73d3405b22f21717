"""Ranks experts for a clause with BM25 over names and descriptions, in units that do not depend on the catalog's size.

One word that occurs in a single description scores about 1. Words of a name count three times, words that fit nearly
any expert ("find", "write") half.
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
"""Minimum score of a chosen expert: most of one distinctive word."""
CLEAR = 1.0
"""Minimum score if another expert scores about the same."""
NAMED = 10.0
"""Score of an expert that is called by its name."""
MARGIN = 0.02
"""Maximum relative difference of two scores that are about the same."""
SPARE_MARGIN = 0.25
"""Minimum relative lead of a fallback over the expert it stands in for."""

_TYPED = 6
"""Letters of a stem from which one may be wrong."""
_LONGEST = 100
_NAME_WEIGHT = 3
_VERB = 1.5
"""Weight of the verb of a clause."""
_FIRST, _FADING, _LEAST = 3, 0.07, 0.3
"""Number of words of a clause that count in full, decrease of the weight per further word, and minimum weight."""
_B = 0.5
"""How much a longer description counts less."""


class Match(NamedTuple):
    expert: str
    score: float


Similar = Callable[[str], Mapping[str, float]]
"""Returns how like a text is to each expert by meaning, in standard deviations above unrelated texts; empty if the text
is unknown."""


@dataclass(frozen=True, slots=True)
class ExpertIndex:
    """An index of cards: stem -> expert -> the score that the stem adds."""

    postings: Mapping[str, Mapping[str, float]]
    names: Mapping[str, str]
    """Names of several words without separators: `refundpolicy` -> the expert."""
    spellings: Mapping[str, str]
    """Long stems with one letter left out -> the stem, where only one has that spelling."""

    def ranked(self, meant: Collection[str], verb: str | None = None) -> list[Match]:
        """Rank the experts that have one of these stems, best first; ties in order of name.

        With `verb`, the stems are those of one clause in order, and `verb` is the stem of its command, or empty: the
        verb counts more, and later words count less.
        """
        scores: dict[str, float] = {}
        new = tuple.__new__  # hot path: each clause times each matching expert
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

    def spelt(self, meant: Sequence[str]) -> tuple[str, ...]:
        """Put the experts' stems for long ones that no expert has and that differ from them in one letter.

        Two letters that changed places count as one.
        """
        return tuple(stem if stem in self.postings else self._near(stem) or stem for stem in meant)

    def _near(self, stem: str) -> str:
        if len(stem) < _TYPED - 1:
            return ""
        near = self.spellings.get(stem) or next(filter(None, map(self.spellings.get, _shortened(stem))), "")
        return near if near[:1] == stem[0] and abs(len(near) - len(stem)) < 2 else ""

    def named(self, said: str) -> str | None:
        """The expert of this name, however its words are joined (`refundPolicy`, "refund policy"); else None."""
        if said.isalpha() and said.islower():
            return self.names.get(said)
        return self.names.get(squeezed(said)) if len(said) <= _LONGEST else None

    def knows(self, text: str) -> bool:
        """Whether a text has a word of any expert's name or description."""
        words = words_of(text)
        said = stems(words)
        known = any(stem in self.postings for stem in said) or any(self.named(word) for word in words)
        return known or self.spelt(said) != said

    def says(self, expert: str, stem: str) -> bool:
        """Whether an expert's name or description has this stem."""
        return expert in self.postings.get(stem, {})


def index(cards: Mapping[str, Card]) -> ExpertIndex:
    """Index the cards; ranking a clause then costs one look-up per word."""
    spares = {spare: name for name, card in cards.items() for spare in card.fallback}
    return _index(tuple((name, card.description, spares.get(name, name)) for name, card in cards.items()))


@lru_cache(maxsize=8)
def _index(cards: tuple[tuple[str, str, str], ...]) -> ExpertIndex:
    """Index names and descriptions. An expert and its fallbacks count as one holder of a shared word."""
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
    joined = {squeezed(name): name for name, *_ in cards if not name.isalnum()}
    return ExpertIndex(postings, joined, _spellings(postings))


def _spellings(known: Collection[str]) -> dict[str, str]:
    """Return each long stem with one letter left out, and itself, for look-ups of words with a typing error."""
    found: dict[str, str] = {}
    for stem in known:
        for spelling in {stem, *_shortened(stem)} if len(stem) >= _TYPED else ():
            found[spelling] = "" if spelling in found and found[spelling] != stem else stem
    return found


def _shortened(stem: str) -> set[str]:
    return {stem[:at] + stem[at + 1 :] for at in range(len(stem))}


def squeezed(name: str) -> str:
    """Reduce a name to letters and digits in lower case: `refundPolicy`, `refund-policy` -> `refundpolicy`."""
    name = name.casefold()
    return name if name.isalnum() else "".join(filter(str.isalnum, name))


def _counted(name: str, description: str) -> Counter[str]:
    counts = Counter(stem for word in _words(description) for stem in stems((word,)))
    for stem in stems(_words(name)):
        counts[stem] += _NAME_WEIGHT
    return counts


def _words(text: str) -> list[str]:
    return [token.text for token in tokens(text.replace('"', " ").replace("-", " "))]
