"""Turns text into search terms: stems of its content words, by language; pieces of words without spaces between."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from unicodedata import normalize

from experts.knowledge.languages import ENGLISH, stem, stop_words
from experts.knowledge.unspaced_scripts import RUN, UNSPACED, pieces

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
"""English stop words, including those that only ask."""
SHADING = frozenset(
    """able already always currently ever frequently generally long may maybe might must never normally often ought
    possible possibly rarely regularly shall sometimes soon still supposed take taken takes typically usually
    yet""".split()
)
"""Words of mood, frequency and duration. They raise a passage's score, but a passage without them covers no less."""
_ASKING = re.compile(r"\bhow\s+(\w+)|\b(?:what|which)\s+(kinds?|sorts?|types?)\b", re.IGNORECASE)
"""A word that belongs to the question word: `how often`, `how quickly`, `what kind`."""
CONTRACTED = re.compile(r"(?:n't|'(?:re|ve|ll|d|m))$")


def terms(text: str, language: str = ENGLISH) -> list[str]:
    """The stems of a text's words, without stop words of its language."""
    stops = STOP if language == ENGLISH else stop_words(language)
    return [stem(word, language) for word in words(text) if word not in stops and not _contracted(word)]


def alternatives(question: str, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """The content words of a question, each as its distinct stems in `languages`; all words if none has content.

    A stop word of English or of any of the languages is no content.
    """
    stops = STOP.union(*map(stop_words, languages))
    found = list(words(question))
    content = [word for word in found if word not in stops and not _contracted(word)] or found
    return list(dict.fromkeys(tuple(dict.fromkeys(stem(word, each) for each in languages)) for word in content))


def shading(question: str) -> frozenset[str]:
    """The stems of a question's English words that a passage may lack without covering less."""
    asking = {word for found in _ASKING.findall(question) for word in found if word}
    return frozenset(stem(word.lower(), ENGLISH) for word in (*SHADING, *asking))


def words(text: str) -> Iterator[str]:
    """Words in lower case without possessive endings; for scripts without spaces, pieces of words."""
    text = normal(text)
    if UNSPACED.search(text):
        yield from pieces(text)
        text = RUN.sub(" ", text)
    for word in _WORD.findall(text):
        yield word.removesuffix("'s")


def _contracted(word: str) -> bool:
    return "'" in word and CONTRACTED.search(word) is not None


def normal(text: str) -> str:
    """Lower case in one Unicode normal form."""
    text = text.lower().replace("’", "'")
    return text if text.isascii() else normalize("NFKC", text)
