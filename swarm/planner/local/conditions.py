"""Turn the words of a condition ("if not", "if it is negative") into one on the result before, where that has a field.

A rag expert tells whether it found anything; a classifier has a label, which its description lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from swarm.text.language import Language
from swarm.text.segments import RequestSegment
from swarm.types.card import JUDGED_BY, Card
from swarm.types.plan import Condition

_LISTED = re.compile(r"(\w[\w-]*(?:\s*,\s*\w[\w-]*)*\s*,?\s+(?:or|and|oder|und|o|y|ou|et)\s+\w[\w-]*)|\(([^()]*)\)")
_SHARED = 4
"""Letters that the beginnings of a label and of its name in another language share at least."""


def condition(segment: RequestSegment, judged: int, card: Card, known: Language) -> Condition | None:
    """Return the condition of a segment on the result of wish `judged`, given by `card`; None if it cannot be told."""
    field = "" if card.output is not None else JUDGED_BY.get(card.kind, "")
    result = f"t{judged + 1}.{field}"
    if field == "found":
        return Condition(result=result, equals=segment.condition == "if")
    if field != "label" or not (label := _label(segment.told, labels(card), known)):
        return None
    if segment.condition == "if":
        return Condition(result=result, equals=label)
    return Condition(result=result, not_equals=label)


def labels(card: Card) -> tuple[str, ...]:
    """Return the labels that a description lists: "positive, negative or mixed", "(low, normal, high)"."""
    return tuple(dict.fromkeys(_labels(card.description)))


def _labels(description: str) -> Iterator[str]:
    for found in _LISTED.finditer(description):
        for one in re.split(r"\s*,\s*|\s+(?:or|and|oder|und|o|y|ou|et)\s+", found[1] or found[2]):
            if one.strip():
                yield one.strip()


def _label(told: Sequence[str], listed: Sequence[str], known: Language) -> str:
    """Return the one label that a condition names, or of which a word begins like it; empty if there is none."""
    common = known.words("common")
    words = [word for word in told if word not in common and word[0].isalpha()]
    found = {label for label in listed for word in words if _alike(word, label.lower())}
    return found.pop() if len(found) == 1 else ""


def _alike(word: str, label: str) -> bool:
    shared = next((i for i, (a, b) in enumerate(zip(word, label, strict=False)) if a != b), min(len(word), len(label)))
    return word == label or shared >= max(_SHARED, 0.6 * max(len(word), len(label)))
