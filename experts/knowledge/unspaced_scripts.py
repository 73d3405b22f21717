"""Splits text in scripts without spaces between words into pieces of fixed length.

Chinese and Japanese become pairs of characters, as in Lucene's CJK analyzer. Korean words become their first two
syllables, before the endings. Thai, Lao, Khmer and Burmese become runs of four characters. Without a dictionary some
pieces span two words; `borders` finds those of a question, so that a passage need not have them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

_HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_HIRAGANA = "\u3041-\u309f"
_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_HANGUL = "\uac00-\ud7a3"
_SOUTHEAST = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0eff\u1000-\u109f\u1780-\u17dd"

UNSPACED = re.compile(f"[{_HAN}{_HIRAGANA}{_KATAKANA}{_HANGUL}{_SOUTHEAST}]")
RUN = re.compile(f"(?P<cjk>[{_HAN}{_HIRAGANA}{_KATAKANA}]+)|(?P<hangul>[{_HANGUL}]+)|(?P<thai>[{_SOUTHEAST}]+)")

_FUNCTION = re.compile(
    f"[{_HIRAGANA}的了吗嗎呢吧啊么麼什怎样樣哪谁誰几幾多少如何为為请請问問我你您他她们們是在有和与與或可以能会會要想这這那个個]"
)
"""Chinese and Japanese characters of grammar and of questions."""
_KOREAN = frozenset("얼마 어떻 언제 어디 무엇 누구 어느 어떤 있나 있습 있는 인가 입니 합니 해주 알려 주세 대해".split())
"""Beginnings of Korean words of grammar and of questions."""
_THAI = re.compile("อย่างไร|ยังไง|เท่าไหร่|เท่าไร|หรือไม่|ไหม|กี่|อะไร|ที่ไหน|เมื่อไหร่|เมื่อไร|ทำไม|ครับ|ค่ะ|คะ")
"""Thai words of questions and of politeness."""


def pieces(text: str) -> list[str]:
    """The pieces of the words of these scripts in a text, without those of grammar.

    >>> pieces("商品损坏"), pieces("상품은 환불"), pieces("送料は")
    (['商品', '品损', '损坏'], ['상품', '환불'], ['送料', '料は'])
    """
    return [piece for _, run in _runs(text) for _, piece in run]


def borders(question: str, known: Container[str]) -> set[str]:
    """Pieces of a question that occur in no document although each of their characters is part of a piece that does."""
    found: set[str] = set()
    for text, run in _runs(question):
        covered = {match.start() for match in _FUNCTION.finditer(text)}
        for start, piece in run:
            if piece in known:
                covered.update(range(start, start + len(piece)))
        found.update(piece for start, piece in run if covered.issuperset(range(start, start + len(piece))))
    return {piece for piece in found if piece not in known or not _FUNCTION.sub("", piece)}


def _runs(text: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Each run of one script, and its pieces with their positions."""
    for run in RUN.finditer(text):
        if run["hangul"]:
            start = run[0][:2]
            yield run[0], [] if start in _KOREAN else [(0, start)]
        elif run["thai"]:
            for part in _THAI.split(run[0]):
                yield part, _cut(part, 4)
        else:
            yield run[0], [each for each in _cut(run[0], 2) if not _is_hiragana(each[1])]


def _cut(text: str, size: int) -> list[tuple[int, str]]:
    last = max(1, len(text) - size + 1) if text else 0
    return [(start, text[start : start + size]) for start in range(last)]


def _is_hiragana(piece: str) -> bool:
    return all("\u3041" <= letter <= "\u309f" for letter in piece)
