"""Find the expert that a model meant by a name that is not in the catalog.

Spelling comes first: case, spaces, `.`, `_`, `-`, Markdown escapes, prefixes such as `functions.`, endings of words.
Then meaning, by the text of the cards; each rule needs one expert without a close second. Similar letters are no
evidence ("Text Classification" is no "Token Classification"), nor is a shared last word: names with the same last word
and different ones before it mean different things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from swarm.text.english import STOP, WEAK_STEMS, stem
from swarm.text.expert_ranking import ExpertIndex, Match, index, squeezed
from swarm.types.card import Card

AHEAD = 1.2
"""The factor by which an expert found by its description must score above the next."""
CANDIDATES = 5
"""Experts proposed to the model for an unknown name."""

Similar = Callable[[str], str | None]
"""Returns the one expert whose description has the meaning of a text, by an encoder; None if it is not sure."""

_NOISE = frozenset("agent api assistant bot expert function model models plugin service specialist task tool".split())
_IDLE = frozenset(stem(word) for word in "engine modeling module process processing response system text".split()) | {
    stem(word) for word in _NOISE
}
"""Stems that add no meaning to a name: every expert takes and returns text."""
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+|[^\W_]")
_MAKING = {
    stem(word): "make" for word in "create creation creator generate generation generator produce synthesize".split()
}
"""Verbs of making something, which count as equal."""
_ASIDE = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")
_ACRONYM = re.compile(r"[A-Z][A-Za-z]?[A-Z]{1,4}")
_SENTENCE = re.compile(r"(?<=[.;!?])\s+")
_DENIES = re.compile(r"\b(?:not|never|no|nor|except|unlike|without|instead|neither|other than)\b|n't\b", re.I)
_GIVEN = re.compile(
    r"\b(?:according to|based on|existing|from|given|input|original|provided)\b"
    r"[^,;.]*?(?=\b(?:by|into|using)\b|[,;.(]|$)"
)
_LONGEST = 200
"""Characters of a name that are compared."""


@dataclass(frozen=True, slots=True)
class NameMatch:
    """The expert that a name means and how it was found (empty: exact name); without one, the nearest candidates."""

    expert: str | None
    how: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _About:
    """The words of one card as stems."""

    expert: str
    name: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    deeds: tuple[tuple[str, ...], ...]
    """The sentences without the expert's input."""
    initials: tuple[str, ...]

    @property
    def words(self) -> frozenset[str]:
        return frozenset((*self.name, *(word for sentence in self.sentences for word in sentence)))

    def covers(self, name: tuple[str, ...]) -> bool:
        """Whether the name and one of the deeds together have all these words, and the name at least one of them."""
        if self.name and self.name[-1] == name[-1] and not set(self.name) <= set(name):
            return False  # it is another kind of the same thing
        rest = {_MAKING.get(word, word) for word in name if word not in self.name}
        return 0 < len(rest) < len(set(name)) and any(rest <= set(deed) for deed in self.deeds)


class ExpertNames:
    """The experts of one catalog by name. It is built once per catalog; finding an exact name is one dict look-up.

    `titles` gives experts a second name, by which models know them: card name -> title.
    """

    def __init__(self, cards: Mapping[str, Card], titles: Mapping[str, str] | None = None) -> None:
        self._titles = dict(titles or {})
        self._exact = {title: name for name, title in self._titles.items()} | {name: name for name in cards}
        self._plain = _unique((squeezed(title), name) for title, name in self._exact.items())
        self._tails = _unique((squeezed(tail), name) for title, name in self._exact.items() for tail in _tails(title))
        self._spaces = {part for title in self._exact for part in title.split(".")[:-1]}
        self._stemmed = _unique((" ".join(parts(title)), name) for title, name in self._exact.items())
        self._cards = cards
        self._about: tuple[_About, ...] | None = None
        self._index: ExpertIndex | None = None
        self._remembered: dict[tuple[str, str], NameMatch] = {}

    def title(self, expert: str) -> str:
        """Return the name by which models know an expert."""
        return self._titles.get(expert, expert)

    def find(self, written: str, words: str = "", similar: Similar | None = None) -> NameMatch:
        """Find the expert that `written` means in a step with the text `words`."""
        if (exact := self._exact.get(written)) is not None:
            return NameMatch(exact)
        written, words = written[:_LONGEST], words[:2_000]
        key = (written, words)
        if similar is None and key in self._remembered:
            return self._remembered[key]
        found = self._spelt(written) or self._meant(written, words, similar)
        if similar is None and len(self._remembered) < 5_000 and len(words) + len(written) < 500:
            self._remembered[key] = found
        return found

    # -- by spelling

    def _spelt(self, written: str) -> NameMatch | None:
        written = written.replace("\\", "").strip(" \t\r\n`*\"'<>:")
        for name in (written, *self._without_prefixes(written)):
            for table, key in ((self._plain, squeezed(name)), (self._stemmed, " ".join(parts(name)))):
                if found := table.get(key):
                    return NameMatch(found, "another spelling")
        if found := self._tails.get(squeezed(written)):
            return NameMatch(found, "its name without the prefix")
        return self._without_aside(written)

    def _without_prefixes(self, written: str) -> Iterable[str]:
        """Yield a name without its first parts (`functions.find`), up to a part that other experts' names have too."""
        segments = re.split(r"[./:]+", written)
        for i in range(1, len(segments)):
            if segments[i - 1] in self._spaces:
                return
            yield ".".join(segments[i:])

    def _without_aside(self, written: str) -> NameMatch | None:
        """Find `Translation (French)` without its brackets, unless another expert's name begins with the rest."""
        bare = _ASIDE.sub("", written)
        if bare == written or not (key := squeezed(bare)):
            return None
        found = self._plain.get(key)
        longer = [plain for plain in self._plain if plain.startswith(key) and plain != key]
        return NameMatch(found, "its name without the brackets") if found and not longer else None

    # -- by meaning

    def _meant(self, written: str, words: str, similar: Similar | None) -> NameMatch:
        bare = _ASIDE.sub("", written)
        every = parts(written if squeezed(bare) in self._plain else bare) or parts(written)
        name = tuple(word for word in every if word not in _NOISE) or every
        ranked = self._ranked(name, words)
        if (same := self._stemmed.get(" ".join(name))) is not None:
            return NameMatch(same, "its name with words added")
        for rule in (self._named_within, self._said, self._part_of, self._covered):
            if found := rule(name, written, words, ranked):
                return found
        if similar is not None and (found_ := similar(f"{written}: {words}" if words else written)) in self._cards:
            return NameMatch(found_, "an expert with that meaning")
        return NameMatch(None, candidates=tuple(self.title(match.expert) for match in ranked[:CANDIDATES]))

    def _named_within(self, name: tuple[str, ...], written: str, words: str, ranked: list[Match]) -> NameMatch | None:
        """Find `Translation` in `Machine Translation`; the added words must not belong to other experts."""
        held = [about for about in self._abouts() if about.name and _holds(name, about.name)]
        most = max((len(about.name) for about in held), default=0)
        longest = [about for about in held if len(about.name) == most]
        if len(longest) != 1 or (most == 1 and longest[0].name[0] in WEAK_STEMS):
            return None
        about = longest[0]
        added = [word for word in name if word not in about.words and word not in _IDLE]
        same = name[-1] == about.name[-1] and not any(self._is_telling(word) for word in added)
        return NameMatch(about.expert, "its name with words added") if same or not added else None

    def _said(self, name: tuple[str, ...], written: str, words: str, ranked: list[Match]) -> NameMatch | None:
        """Find the one expert whose description has these words, or has words with these initials."""
        short = {word.lower() for word in _ACRONYM.findall(written)} if _ACRONYM.fullmatch(written.strip()) else set()
        said = [
            about
            for about in self._abouts()
            if (len(name) > 1 and any(_within(name, sentence) for sentence in about.sentences))
            or any(word in sentence for word in short for sentence in (*about.sentences, about.initials))
        ]
        return NameMatch(said[0].expert, "its description says so") if len(said) == 1 else None

    def _part_of(self, name: tuple[str, ...], written: str, words: str, ranked: list[Match]) -> NameMatch | None:
        """Find the one expert whose name contains the words. For a single word the step must have the others."""
        longer = [about for about in self._abouts() if len(about.name) > len(name) and _within(name, about.name)]
        if len(longer) != 1 or all(word in WEAK_STEMS for word in name):
            return None
        (about,) = longer
        if about.name[0] != name[0] and any(other.name[:1] == name[:1] for other in self._abouts()):
            return None  # `book_online` is none of the things that are done with books
        rest = set(about.name) - set(name)
        if len(name) > 1 or (rest and rest <= set(parts(words))):
            return NameMatch(about.expert, "its name with words left out")
        return None

    def _covered(self, name: tuple[str, ...], written: str, words: str, ranked: list[Match]) -> NameMatch | None:
        """Find the one expert whose name and deed have all these words, and that is clearly ahead of the others."""
        if len(name) < 2 or not ranked:
            return None
        covering = [about.expert for about in self._abouts() if about.covers(name)]
        clear = len(covering) == 1 and _ahead(covering[0], self._ranked(name, ""), AHEAD)
        return NameMatch(covering[0], "its description has these words") if clear else None

    def _ranked(self, name: tuple[str, ...], words: str) -> list[Match]:
        if self._index is None:
            self._index = index(self._cards)
        return self._index.ranked(tuple(dict.fromkeys((*name, *parts(words[:500])))))

    def _abouts(self) -> tuple[_About, ...]:
        if self._about is None:
            self._about = tuple(_about(name, self.title(name), card.description) for name, card in self._cards.items())
        return self._about

    def _is_telling(self, word: str) -> bool:
        """Whether the word is a part of some expert's name."""
        return any(word in about.name for about in self._abouts())


@lru_cache(maxsize=8_192)
def parts(text: str) -> tuple[str, ...]:
    """Return the stems of the words without stop words, in order: `Text-to-Image` is not `Image-to-Text`."""
    words = [word.lower() for word in _WORD.findall(text)]
    return tuple(word if word.isdigit() else stem(word) for word in words if word not in STOP)


def _ahead(expert: str, ranked: list[Match], times: float) -> bool:
    """Whether an expert's score is at least `times` that of any other."""
    scores = {match.expert: match.score for match in ranked}
    own = scores.pop(expert, 0.0)
    return own >= times * max(scores.values(), default=0.0)


def _tails(title: str) -> Iterable[str]:
    """Return the shorter forms of a dotted name: `maps.route.find` -> `route.find`, `find`."""
    segments = title.split(".")
    return (".".join(segments[i:]) for i in range(1, len(segments)))


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keep the keys that mean one name only."""
    found: dict[str, str] = {}
    twice = set()
    for key, name in pairs:
        if found.setdefault(key, name) != name or not key:
            twice.add(key)
    return {key: name for key, name in found.items() if key not in twice}


def _about(expert: str, title: str, description: str) -> _About:
    sentences = [s for s in _SENTENCE.split(description[:4_000]) if not _DENIES.search(s)]
    plain = [re.sub(r"\([^()]*\)", " ", s) for s in sentences]
    said = dict.fromkeys(parts(s) for s in (*sentences, *plain))
    deeds = dict.fromkeys(tuple(_MAKING.get(w, w) for w in parts(_GIVEN.sub(" ", s))) for s in sentences)
    initials = [word for s in plain for word in _initials(s)]
    return _About(expert, parts(title), tuple(said), tuple(deeds), tuple(initials))


def _initials(sentence: str) -> Iterable[str]:
    """Return the initials of each three and four words in a row."""
    words = [word for word in re.split(r"[\W_]+", sentence.lower()) if word]
    return ("".join(word[0] for word in words[i : i + n]) for n in (3, 4) for i in range(len(words) - n + 1))


def _holds(longer: Collection[str], shorter: tuple[str, ...]) -> bool:
    """Whether `longer` has all the words of `shorter` in their order, and more."""
    rest = iter(longer)
    return len(shorter) < len(longer) and all(word in rest for word in shorter)


def _within(name: tuple[str, ...], sentence: tuple[str, ...]) -> bool:
    """Whether the words stand in the sentence next to each other."""
    n = len(name)
    return any(sentence[i : i + n] == name for i in range(len(sentence) - n + 1))
