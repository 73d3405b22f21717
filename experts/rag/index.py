"""Finds the passages a question is about, by words: BM25 over stems, the heading trail counting with the text.

An own index rather than SQLite's: it is within half a point of it on SQuAD, it knows which words of a question a
passage has (by which `local/extract` knows when to say no), and any thread may ask it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from unicodedata import normalize

from experts.rag.chunking import Passage
from experts.rag.unspaced import RUN, UNSPACED, borders, pieces
from swarm.text.bm25 import rarity, saturated
from swarm.text.english import stem

B = 0.75
"""How much a longer passage counts less."""
HEADING = 2
"""How often the words of the nearest heading count as if they stood in the text; those above it count once."""
NAMING = 0.5
"""What a word of the question counts that is also in the name of the whole."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
STOP = frozenset(
    """a about after again all also am an and any are as asks at be because been before being below between both but by
    can could did do does doing down during each few happen happens for from further get had has have having he
    her here hers him his how i if in into is isn it its itself just many me more most much my no nor not now of
    off on once only or other our ours out over own same she should so some such than that the their theirs them
    then there these they this those through to too under until up us very was we were what when where which
    while who whom why will with would you your yours s t don't doesn't can't i'm it's i've there's answer
    answers check document documents exactly explain find following give handbook know let look need please
    question regarding say says section summarise summarize tell text want whether wants
    arent cant couldnt didnt doesnt dont hasnt havent isnt shouldnt wasnt werent whats wont wouldnt""".split()
)
"""Words that ask rather than say what about."""
SHADING = frozenset(
    """able already always currently ever frequently generally long may maybe might must never normally often ought
    possible possibly rarely regularly shall sometimes soon still supposed take taken takes typically usually
    yet""".split()
)
"""Words of mood, frequency and duration. They count where a passage has them, and are not missed where it does not."""
ASKING = re.compile(r"\bhow\s+(\w+)|\b(?:what|which)\s+(kinds?|sorts?|types?)\b", re.IGNORECASE)
"""A word that is part of what asks: `how often`, `how quickly`, `what kind`."""
CONTRACTED = re.compile(r"(?:n't|'(?:re|ve|ll|d|m))$")


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it fits. `coverage`: the share of the question's weight that its words make up."""

    passage: Passage
    score: float
    coverage: float


class PassageIndex:
    """Passages, ready to be searched. It never changes, so any number may search it at once.

    `name` and `about` describe the whole. Their words may stand in a question only to say whom it is for ("what does
    the refund policy say ..."): they are not missed where no passage has them, and those of the name count less.
    """

    def __init__(self, passages: Sequence[Passage], name: str = "", about: str = "") -> None:
        self.passages = tuple(passages)
        self._name, self._about = frozenset(terms(name)), frozenset(terms(f"{name} {about}"))
        self._lengths: list[int] = []
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, passage in enumerate(self.passages):
            counts = Counter(terms(passage.shown))
            above, _, nearest = passage.section.rpartition(" > ")
            counts.update(terms(above) + terms(nearest) * HEADING)
            self._lengths.append(counts.total())
            for term, count in counts.items():
                self._postings[term].append((number, count))
        self._mean = max(1.0, sum(self._lengths) / max(1, len(self._lengths)))

    def weight(self, term: str) -> float:
        """How much a word says: the rarer, the more; one that occurs nowhere says most."""
        seen = len(self._postings.get(term, ()))
        weight = rarity(seen, len(self.passages))
        return weight * NAMING if term in self._name else weight

    def asked(self, question: str) -> tuple[str, ...]:
        """The stems a question is about, once each; if it has asking words only, those."""
        found = terms(question) or [stem(word) for word in words(question)]
        return tuple(dict.fromkeys(t for t in found if t in self._postings or t not in self._about))

    def needed(self, question: str) -> frozenset[str]:
        """The stems that a passage must have to answer a question: all of those asked but words that shade it."""
        asking = {word for found in ASKING.findall(question) for word in found if word}
        shading = {stem(word.lower()) for word in (*SHADING, *asking)}
        asked = self.asked(question)
        crossing = borders(_normal(question), self._postings) if UNSPACED.search(question) else set()
        return frozenset(asked) - shading - crossing or frozenset(asked)

    def search(self, question: str, count: int = 5) -> list[Hit]:
        """The `count` best passages for `question`, best first; none that shares no word with it."""
        asked, needed = self.asked(question), self.needed(question)
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        for term in asked:
            weight = self.weight(term)
            for number, times in self._postings.get(term, ()):
                scores[number] += weight * saturated(times, self._lengths[number] / self._mean, b=B)
                covered[number] += weight if term in needed else 0.0
        whole = sum(self.weight(term) for term in needed) or 1.0
        best = nlargest(count, scores, key=lambda number: (scores[number], -number))
        return [Hit(self.passages[number], scores[number], covered[number] / whole) for number in best]


def terms(text: str) -> list[str]:
    """The stems of a text's words, without those that carry nothing."""
    return [stem(word) for word in words(text) if word not in STOP and not CONTRACTED.search(word)]


def words(text: str) -> Iterable[str]:
    """Words in lower case, possessive endings dropped; of scripts without spaces between words, pieces of them."""
    text = _normal(text)
    if UNSPACED.search(text):
        yield from pieces(text)
        text = RUN.sub(" ", text)
    for word in _WORD.findall(text):
        yield word.removesuffix("'s")


def _normal(text: str) -> str:
    """Lower case, with one form of each character where there are several."""
    text = text.lower().replace("’", "'")
    return text if text.isascii() else normalize("NFKC", text)
