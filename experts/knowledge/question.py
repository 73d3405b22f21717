"""Turns a question into weighted terms for a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experts.knowledge.languages import ENGLISH
from experts.knowledge.store import KnowledgeStore, Term
from experts.knowledge.terms import alternatives, normal, shading
from experts.knowledge.unspaced_scripts import UNSPACED, borders
from swarm.text.bm25 import rarity

NAMING = 0.5
"""Factor on the weight of a question's word that is also in the expert's name."""
MAX_TERMS = 64
"""Terms of a question that are searched; of more, the rarest."""


class Naming:
    """Words that a question may use only to address the expert ("what does the refund policy say ...").

    They need not occur in a passage, and those of the name count less.
    """

    def __init__(self, name: str = "", about: str = "") -> None:
        self._name, self._about = name, f"{name} {about}"

    def of(self, languages: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
        """The stems of the name, and those of name and description."""
        name, about = alternatives(self._name, languages), alternatives(self._about, languages)
        return _flat(name), _flat(about)


def question_terms(question: str, store: KnowledgeStore, naming: Naming) -> list[Term]:
    """The distinct content words of a question with their weights, the rarest first.

    The weight is the rarity of a word among the chunks; a word that occurs nowhere weighs most. Words of mood and
    frequency, and pieces of two words in scripts without spaces, are not needed, unless there is nothing else.
    """
    languages = store.languages or (ENGLISH,)
    found = alternatives(question, languages)
    holders = store.holders([stem for stems in found for stem in stems])
    name, about = naming.of(languages)
    found = [stems for stems in found if _held(stems, holders) or not about.intersection(stems)]
    spare = shading(question)
    if UNSPACED.search(question):
        spare |= borders(normal(question), holders)
    weighed = [
        Term(
            stems,
            rarity(_held(stems, holders), store.size) * (NAMING if name.intersection(stems) else 1.0),
            needed=not spare.intersection(stems),
        )
        for stems in found
    ]
    if not any(term.needed for term in weighed):
        weighed = [term._replace(needed=True) for term in weighed]
    return sorted(weighed, key=lambda term: -term.weight)[:MAX_TERMS]


def _held(stems: Sequence[str], holders: Mapping[str, int]) -> int:
    return sum(holders.get(stem, 0) for stem in stems)


def _flat(found: Sequence[Sequence[str]]) -> frozenset[str]:
    return frozenset(stem for stems in found for stem in stems)
