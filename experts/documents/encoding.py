"""Decodes documents: by byte order mark, else as UTF-8, UTF-16 or Windows-1252 where plausible, else by frequencies.

The last needs charset-normalizer; without it, texts in other encodings are refused.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE

from swarm.types.base import cleaned

MARKS = (
    (BOM_UTF8, "utf-8-sig"), (BOM_UTF32_LE, "utf-32"), (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"), (BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""Byte order marks, longest first: the mark of UTF-32 begins with that of UTF-16."""
MOST_ACCENTED = 0.3
"""Maximum share of non-ASCII letters in a text read as Windows-1252; above it, it is another encoding."""

GUESSED_FROM = 200_000
"""Bytes from which an encoding is guessed."""

_BROKEN_WORD = re.compile(r"[^\W\d_][¡-©«-´¶-¹»-¿×÷][^\W\d_]")
"""A sign inside a word, where another encoding has a letter."""
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f]")


class Undecodable(ValueError):
    """Bytes that are not text. `start` is the first offending position."""

    def __init__(self, problem: str, start: int = 0) -> None:
        super().__init__(problem)
        self.start = start


def decoded(content: bytes) -> tuple[str, str]:
    """Decode a document, without terminal escapes and control characters. Adds a note if the encoding was guessed.

    >>> decoded("café".encode())
    ('café', '')
    >>> decoded("café".encode("cp1252"))
    ('café', 'read as Windows-1252, as it is not UTF-8')
    """
    guessed = ""
    try:
        text = _utf16(content) or text_of(content)
    except Undecodable:
        if (read := _windows(content) or _by_frequencies(content)) is None:
            raise
        text, guessed = read[0], f"read as {read[1]}, as it is not UTF-8"
    if "\0" in text:
        raise Undecodable("is not a text file (it has NUL characters)")
    return _CONTROL.sub("", cleaned(text)), guessed


def text_of(content: bytes) -> str:
    """Decode by the byte order mark or as UTF-8, unchanged. Raises Undecodable."""
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start
    if encoding.startswith("utf-8"):
        line = content.count(b"\n", 0, start) + 1
        raise Undecodable(f"is not UTF-8 (line {line})", start)
    raise Undecodable(f"is truncated or damaged: it begins as {encoding.upper()} and continues otherwise", start)


def _utf16(content: bytes) -> str | None:
    """Decode as UTF-16 without a byte order mark if every other byte is mostly NUL; None otherwise."""
    sample = content[: GUESSED_FROM // 2 * 2]
    if len(content) % 2 or b"\0" not in sample or content.startswith(tuple(mark for mark, _ in MARKS)):
        return None
    half = len(sample) / 2
    high, low = (sample[start::2].count(0) for start in (0, 1))
    if min(high, low) > 0.02 * half or max(high, low) < 0.4 * half:
        return None
    try:
        return content.decode("utf-16-be" if high > low else "utf-16-le")
    except UnicodeDecodeError:
        return None


def _windows(content: bytes) -> tuple[str, str] | None:
    """Decode as Windows-1252; None if the result is implausible."""
    if b"\0" in content or content.startswith(tuple(mark for mark, _ in MARKS)):
        return None
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = sum(map(str.isalpha, text))
    accented = sum(letter.isalpha() and not letter.isascii() for letter in text)
    if accented > MOST_ACCENTED * letters or _BROKEN_WORD.search(text):
        return None
    return text, "Windows-1252"


def _by_frequencies(content: bytes) -> tuple[str, str] | None:
    """Decode by the encoding that gives the likeliest text; None if there is none or charset-normalizer is missing."""
    if b"\0" in content or content.startswith(tuple(mark for mark, _ in MARKS)):
        return None
    try:
        from charset_normalizer import from_bytes
    except ModuleNotFoundError:
        return None
    best = from_bytes(content[:GUESSED_FROM]).best()
    if best is None:
        return None
    try:
        return content.decode(best.encoding), best.encoding
    except UnicodeDecodeError:
        return None
