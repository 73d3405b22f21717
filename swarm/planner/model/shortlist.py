"""Choose the experts that a prompt shows, since plans get worse with every name to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest

from swarm.text.clauses import clauses
from swarm.text.english import stems
from swarm.text.expert_ranking import ExpertIndex, Match, index
from swarm.text.tokens import tokens
from swarm.types.card import Card

MOST = 30
"""The most experts that a prompt shows."""
CANDIDATES = 5
"""Experts added to it for each unknown name."""
_LOOKED_AT = 20_000
_CLAUSES = 60


def shortlist(
    text: str, cards: Mapping[str, Card], most: int = MOST, meant: Sequence[Sequence[Match]] = ()
) -> tuple[dict[str, Card], str]:
    """Choose at most `most` cards, in the catalog's order; return them, and a note if some were left out.

    The best experts for the whole request and for each of its clauses are taken in turn, so that every clause has some.
    `meant` are rankings of parts of the request by meaning, which take their turns too, before those by words. An
    expert brings its fallbacks and those whose fallback it is. Free places are filled by name.
    """
    if len(cards) <= most:
        return dict(cards), ""
    kept: set[str] = set()
    fitting = list(_in_turns(text, index(cards), meant))
    families = _families(cards)
    for name in (*fitting, *sorted(cards)):
        if len(kept) == most:
            break
        family = families[name] - kept
        if len(kept) + len(family) <= most:
            kept |= family
    matched = len(kept.intersection(fitting))
    how = "by words and meaning of the request" if meant else "by words of the request"
    note = f"the model was shown {len(kept)} of {len(cards):,} experts, {matched} of them {how}"
    return {name: card for name, card in cards.items() if name in kept}, note


def candidates(names: Iterable[str], cards: Mapping[str, Card], each: int = CANDIDATES) -> dict[str, Card]:
    """Return the experts nearest to unknown names, by their own names and descriptions, in the catalog's order."""
    words = index(cards)
    near = {match.expert for name in names for match in islice(words.ranked(_meant(_apart(name))), each)}
    return {name: card for name, card in cards.items() if name in near}


def _in_turns(text: str, words: ExpertIndex, meant: Sequence[Sequence[Match]]) -> Iterator[str]:
    """Yield the best expert of every ranking, then the second best of each, and so on, without repeats."""
    begins = text[:_LOOKED_AT]
    parts = (clause.meant for clause in islice(clauses(begins), _CLAUSES))
    rankings = [*meant, *(words.ranked(said) for said in (_meant(begins), *parts))]
    seen: set[str] = set()
    for match in (match for turn in zip_longest(*rankings) for match in turn if match is not None):
        if match.expert not in seen:
            seen.add(match.expert)
            yield match.expert


def _families(cards: Mapping[str, Card]) -> dict[str, set[str]]:
    """Map every expert to itself, its fallbacks, and those whose fallback it is."""
    families = {name: {name, *(spare for spare in card.fallback if spare in cards)} for name, card in cards.items()}
    for name, card in cards.items():
        for spare in card.fallback:
            families.get(spare, set()).add(name)
    return families


def _meant(text: str) -> tuple[str, ...]:
    return stems(token.text for token in tokens(text))


def _apart(name: str) -> str:
    """Split a name into words, however it joins them: `OrderLookup`, `order_lookup`, `order-lookup`."""
    spaced = "".join(
        f" {c}" if c.isupper() and before.islower() else c for before, c in zip(" " + name, name, strict=False)
    )
    return "".join(c if c.isalnum() else " " for c in spaced[:200])
