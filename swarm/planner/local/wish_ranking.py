"""Ranks experts for the segments of a request: by meaning, by the words they share, and by what they do with texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.planner.local.abilities import DEEDS, adjusted
from swarm.planner.local.task import Span
from swarm.text.english import stems
from swarm.text.expert_ranking import NAMED, ExpertIndex, Match, Similar
from swarm.text.language import Language
from swarm.text.segments import RequestSegment, Segmented
from swarm.text.tokens import tokens
from swarm.types.card import Card

THRESHOLD = 2.7
"""The least score of a chosen expert, in standard deviations above that of unrelated texts."""
CLEAR = 3.6
"""The least score of a statement that is a wish of its own."""
_LISTED, _AHEAD = 4.5, 2.0
"""The least score of a part of a list that is a wish of its own, and how much better its expert must fit it than the
expert of the part before."""
_WORDS, _MOST_WORDS = 0.5, 2.0
"""What a distinctive word that request and card share adds to the score, and how many count."""
_OWN = 3
"""Words beside a quotation from which these alone are compared with the cards."""
_LONGEST = 400
"""Characters of a text that is compared."""


def compared(text: str, parts: Segmented) -> tuple[str, ...]:
    """Return the texts that `Ranking` will look up in `similar`."""
    found = {text[:_LONGEST]: None}
    before = ""
    for segment in parts.segments:
        if segment.pleasant or not segment.words:
            continue
        own = said(text, segment)
        found |= {own: None, joined(before, own): None}
        if len(segment.pieces) > 1 and not segment.each:
            found |= dict.fromkeys(text[start:end][:_LONGEST] for start, end in segment.pieces)
        before = own
    return tuple(found)


def said(text: str, segment: RequestSegment) -> str:
    """Return the words of a segment that are compared: without its quotations, if it has enough words beside them."""
    if sum(word[0].isalpha() for word in segment.words) < _OWN:
        return text[segment.head : segment.end].strip()[:_LONGEST]
    kept, at = "", segment.head
    for start, end in segment.quotes:
        kept, at = kept + text[at:start] + "…", end
    return (kept + text[at : segment.end]).strip(" ,;\n")[:_LONGEST]


def joined(before: str, own: str) -> str:
    """Return two texts as one; of long ones the end."""
    return f"{before} {own}".strip()[-_LONGEST:]


def fits(ranked: Sequence[Match]) -> bool:
    return best(ranked) >= THRESHOLD


def best(ranked: Sequence[Match]) -> float:
    """Return the best score; 0 if no expert is ranked."""
    return ranked[0].score if ranked else 0.0


def score_of(expert: str, ranked: Sequence[Match]) -> float:
    return next((match.score for match in ranked if match.expert == expert), 0.0)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks the experts for parts of one request."""

    text: str
    index: ExpertIndex
    cards: Mapping[str, Card]
    similar: Similar
    known: Language

    def of(self, segment: RequestSegment) -> list[Match]:
        """Rank for a segment by its own words, best first."""
        return self._ranked(said(self.text, segment), segment)

    def together(self, before: RequestSegment, segment: RequestSegment) -> list[Match]:
        """Rank for a segment with what was said before it."""
        return self._ranked(joined(said(self.text, before), said(self.text, segment)), segment)

    def whole(self, first: RequestSegment) -> list[Match]:
        """Rank for the whole request, which begins with the segment `first`."""
        return self._ranked(self.text[:_LONGEST], first)

    def listed(self, segment: RequestSegment) -> list[tuple[list[Match], Span]]:
        """Return the parts of a list of things for different experts, each with these; empty if it is for one.

        A part begins where an expert clearly fits, and clearly better than that of the part before.
        """
        if len(segment.pieces) < 2 or segment.each:
            return []
        found: list[tuple[list[Match], Span]] = []
        for start, end in segment.pieces:
            ranked = self._ranked(self.text[start:end][:_LONGEST], segment)
            if not found:
                found.append((ranked, (start, end)))
                continue
            before, (begun, _) = found[-1]
            if self._are_apart(before, ranked):
                found.append((ranked, (start, end)))
            else:
                found[-1] = (max(before, ranked, key=best), (begun, end))
        return found if len(found) > 1 else []

    def _are_apart(self, one: Sequence[Match], other: Sequence[Match]) -> bool:
        if min(best(one), best(other)) < _LISTED or one[0].expert == other[0].expert:
            return False
        return other[0].score - score_of(one[0].expert, other) >= _AHEAD

    def _ranked(self, own: str, segment: RequestSegment) -> list[Match]:
        scores = dict(self.similar(own))
        words = [token.text for token in tokens(own)]
        if segment.verb in DEEDS:
            words.append(segment.verb)
        elif segment.verb and words and words[0] == segment.words[0]:
            del words[0]  # "book a table" is not for an expert on books
        for match in self.index.ranked(stems(words)):
            scores[match.expert] = scores.get(match.expert, 0.0) + _WORDS * min(match.score, _MOST_WORDS)
        scores = adjusted(scores, segment, self.cards, self.known)
        lowered = own.lower()
        scores |= {name: NAMED for name in self.cards if "-" in name and name in lowered}
        return sorted((Match(*item) for item in scores.items()), key=lambda match: (-match.score, match.expert))
