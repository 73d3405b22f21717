"""Decodes documents: by byte order mark, else as UTF-8, else as Windows-1252 where the result is plausible."""

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
        text = text_of(content)
    except Undecodable:
        if (read := _windows(content)) is None:
            raise
        text, guessed = read, "read as Windows-1252, as it is not UTF-8"
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


def _windows(content: bytes) -> str | None:
    """Decode as Windows-1252; None if the result is implausible."""
    if b"\0" in content or content.startswith(tuple(mark for mark, _ in MARKS)):
        return None
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = sum(map(str.isalpha, text))
    accented = sum(letter.isalpha() and not letter.isascii() for letter in text)
    return text if accented <= MOST_ACCENTED * letters else None
