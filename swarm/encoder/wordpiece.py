"""The WordPiece tokenizer of uncased BERT models: a text to the ids of its pieces.

The ids are those of the reference implementation, except that "[MASK]" and the like in a text are read as plain text.
The work is bounded by the token limit and not by the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
ENGLISH_PIECES = 1.25
"""Pieces per word from which on a text is not English."""

_MAX_WORD = 100
"""Characters of a word; a longer one is unknown."""
_CHARS_PER_TOKEN = 24
"""Characters that are read of a text for each token that it may have."""
_REMEMBERED = 50_000
"""Words whose pieces are kept."""
_ASCII = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DROPPED = frozenset({"Cc", "Cf", "Co", "Cs", "Mn"})
"""Categories of characters that vanish: controls, invisible ones and accents."""
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class _Fold(dict[int, str]):
    """Maps a character for `str.translate`: controls and accents vanish, marks and ideographs stand alone."""

    def __missing__(self, code: int) -> str:
        found = _folded(code)
        if len(self) < _REMEMBERED:
            self[code] = found
        return found


def _folded(code: int) -> str:
    character = chr(code)
    if character in "\t\n\r":
        return " "
    category = unicodedata.category(character)
    if code == 0xFFFD or category in _DROPPED:
        return ""
    if category[0] == "Z":
        return " "
    mark = category[0] == "P" or (code < 128 and category[0] == "S")
    if mark or any(first <= code <= last for first, last in _IDEOGRAPHS):
        return f" {character} "
    return character


class WordPiece:
    """A vocabulary: one piece per line of `vocab.txt`, its line number is its id. It may be used in several threads."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self.start, self.end, self._unknown = (self._ids[name] for name in (START, END, UNKNOWN))
        self._words: dict[str, tuple[int, ...]] = {}
        self._fold = _Fold()

    def ids(self, text: str, limit: int = 256) -> list[int]:
        """The ids of a text with start and end, at most `limit` of them."""
        return [self.start, *self.pieces(text, limit - 2), self.end]

    def pair(self, first: str, second: str, limit: int = 256) -> tuple[list[int], list[int]]:
        """The ids of two texts read together, and for each id 0 or 1: which text it belongs to.

        The second one is cut first; the first one gets no more than half of `limit`.
        """
        before = [self.start, *self.pieces(first, limit // 2 - 2), self.end]
        after = [*self.pieces(second, limit - len(before) - 1), self.end]
        return before + after, [0] * len(before) + [1] * len(after)

    def pieces(self, text: str, limit: int) -> list[int]:
        """At most `limit` ids of a text, without start and end."""
        found: list[int] = []
        known = self._words
        for word in self._split(text[: limit * _CHARS_PER_TOKEN]):
            ids = known.get(word)
            found += self._learn(word) if ids is None else ids
            if len(found) >= limit:
                break
        return found[:limit]

    def pieces_per_word(self, text: str, limit: int = 256) -> float:
        """Pieces per word in the beginning of a text, marks not counted; 0.0 without words.

        A word in another script than Latin counts as two pieces at least.
        """
        words = [word for word in self._split(text[: limit * _CHARS_PER_TOKEN]) if word.isalpha()][:limit]
        counts = (max(len(self._words.get(word) or self._learn(word)), 1 if word.isascii() else 2) for word in words)
        return sum(counts) / max(1, len(words))

    def is_english(self, text: str) -> bool:
        """Whether a text is in English, as far as its words tell: other languages fall into more pieces."""
        return self.pieces_per_word(text) < ENGLISH_PIECES

    def _split(self, text: str) -> list[str]:
        """The words, marks and ideographs of a text, in lower case and without accents."""
        if text.isascii():
            return _ASCII.findall(_ASCII_CONTROL.sub("", text).lower())
        return unicodedata.normalize("NFD", text).translate(self._fold).lower().split()

    def _learn(self, word: str) -> tuple[int, ...]:
        ids = tuple(self._longest_first(word)) if len(word) <= _MAX_WORD else (self._unknown,)
        if -1 in ids:
            ids = (self._unknown,)
        if len(self._words) < _REMEMBERED and len(word) <= _MAX_WORD:
            self._words[word] = ids
        return ids

    def _longest_first(self, word: str) -> Iterator[int]:
        """The ids of the longest pieces from left to right; -1 where none fits."""
        at = 0
        while at < len(word):
            for end in range(len(word), at, -1):
                piece = word[at:end] if at == 0 else f"##{word[at:end]}"
                if (found := self._ids.get(piece)) is not None:
                    yield found
                    at = end
                    break
            else:
                yield -1
                return
