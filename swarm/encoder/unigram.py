"""The unigram tokenizer of SentencePiece models: a text to the ids of its pieces, in any language.

Texts are normalised as the models were trained: by NFKC, and with one space in place of several. Ids differ from those
of SentencePiece only for rare characters that its own table treats otherwise.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator

UNKNOWN_ID, START_ID, END_ID = 0, 1, 2
SPACE = "\u2581"

_CHARS_PER_TOKEN = 24
"""Characters that are read of a text for each token that it may have."""
_UNKNOWN_PENALTY = 10.0
_SPACES = (0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD)
_CLEANED = dict.fromkeys(_SPACES, " ")


class Unigram:
    """The pieces of a SentencePiece file with their scores. It may be used in several threads."""

    def __init__(self, content: bytes) -> None:
        scored = list(_pieces(content))
        self._pieces = {piece: (number, score) for number, (piece, score) in enumerate(scored)}
        self._unknown = min(score for _, score in scored) - _UNKNOWN_PENALTY
        self._longest = max(len(piece) for piece, _ in scored)

    def ids(self, text: str, limit: int = 256) -> list[int]:
        """The ids of a text with start and end, at most `limit` of them."""
        words = unicodedata.normalize("NFKC", text[: limit * _CHARS_PER_TOKEN].translate(_CLEANED)).split()
        found = self._best(SPACE + SPACE.join(words)) if words else [UNKNOWN_ID]
        return [START_ID, *found[: limit - 2], END_ID]

    def _best(self, text: str) -> list[int]:
        """The pieces of `text` with the highest sum of scores (Viterbi)."""
        best = [0.0, *[float("-inf")] * len(text)]
        chosen = [(0, UNKNOWN_ID)] * (len(text) + 1)
        for start in range(len(text)):
            base, known = best[start], False
            for end in range(start + 1, min(start + self._longest, len(text)) + 1):
                if (piece := self._pieces.get(text[start:end])) is None:
                    continue
                known = known or end == start + 1
                if base + piece[1] > best[end]:
                    best[end], chosen[end] = base + piece[1], (start, piece[0])
            if not known and base + self._unknown > best[start + 1]:
                best[start + 1], chosen[start + 1] = base + self._unknown, (start, UNKNOWN_ID)
        ids = []
        at = len(text)
        while at > 0:
            at, number = chosen[at]
            ids.append(number)
        return ids[::-1]


def _pieces(content: bytes) -> Iterator[tuple[str, float]]:
    """The pieces of a SentencePiece file: a protobuf whose repeated field 1 holds a text (1) and a score (2)."""
    at = 0
    while at < len(content) and content[at] == 0x0A:
        size, at = _varint(content, at + 1)
        yield _piece(content[at : at + size])
        at += size


def _piece(entry: bytes) -> tuple[str, float]:
    size, at = _varint(entry, 1)
    end = at + size
    score = struct.unpack_from("<f", entry, end + 1)[0] if entry[end : end + 1] == b"\x15" else 0.0
    return entry[at:end].decode("utf-8"), score


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
