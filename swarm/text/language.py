"""The words by which a request in English, German, Spanish or French is cut into wishes, read from data files.

A file has lines `kind: phrase, phrase`; `verb write: schreib, verfasse` lists verbs with the English verb for them.
Phrases are matched with tokens, so they hold lower-case words, with apostrophes and without hyphens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NAMES = ("en", "de", "es", "fr")
_FOLDER = Path(__file__).parent / "languages"
_LONGEST = 5
"""Words of a phrase."""

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """The phrases of a language by kind, and its verbs of command with the English verb for each."""

    name: str
    phrases: Mapping[str, frozenset[Phrase]]
    verbs: Mapping[str, str]

    def length(self, kind: str, words: Sequence[str], at: int) -> int:
        """Number of words of the longest phrase of `kind` that stands at `at`; 0 if there is none."""
        known = self.phrases.get(kind, frozenset())
        for length in range(min(_LONGEST, len(words) - at), 0, -1):
            if tuple(words[at : at + length]) in known:
                return length
        return 0

    def has(self, kind: str, words: Sequence[str]) -> bool:
        """Whether a phrase of `kind` stands anywhere in `words`."""
        return any(self.length(kind, words, at) for at in range(len(words)))

    def words(self, kind: str) -> frozenset[str]:
        """The phrases of one word."""
        return frozenset(phrase[0] for phrase in self.phrases.get(kind, frozenset()) if len(phrase) == 1)


@cache
def language(name: str) -> Language:
    """Read a language of NAMES. The file is read once per process."""
    phrases: dict[str, set[Phrase]] = {}
    verbs: dict[str, str] = {}
    lines = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if not line.startswith("#")):
        kind, _, listed = line.partition(":")
        given = [tuple(one.split()) for one in listed.split(",") if one.strip()]
        if kind.startswith("verb "):
            verbs |= {phrase[0]: kind.removeprefix("verb ") for phrase in given if len(phrase) == 1}
            phrases.setdefault("verb", set()).update(given)
        else:
            phrases.setdefault(kind, set()).update(given)
    return Language(name, {kind: frozenset(known) for kind, known in phrases.items()}, verbs)


def detect(words: Sequence[str]) -> str:
    """Name the language of a text by its common words; empty if it is in none of NAMES as far as these tell.

    A text without a common word of any language counts as English if it has only ASCII letters.

    >>> detect("where is my parcel".split()), detect("wo ist mein Paket".lower().split()), detect(["żółw"])
    ('en', 'de', '')
    """
    counts = {name: sum(word in language(name).words("common") for word in words) for name in NAMES}
    best = max(NAMES, key=counts.__getitem__)
    if counts[best]:
        return best
    return "en" if all(word.isascii() for word in words) else ""
