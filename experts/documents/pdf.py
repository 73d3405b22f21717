"""Reads the text of PDF files with pypdfium2: lines, joined to paragraphs and headings by their heights and distances.

Lines that repeat on most pages (running heads, page numbers) are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from experts.documents.base import Document, UnreadableFile
from experts.documents.builder import DocumentBuilder

if TYPE_CHECKING:
    import pypdfium2

MAX_PAGES = 5_000
SHORTEST = 10
"""Letters below which a page with an image counts as scanned."""
LARGER = 1.12
"""Height of a heading's letters, by that of the text."""
APART = 0.8
"""Space above a paragraph, by the height of its line."""
MAX_HEADING = 150
EDGE = 3
BOLD = 6
"""Level of headings that differ from the text by their weight only."""
"""Lines at each end of a page that may be running heads."""
MOST_STRANGE = 0.2
"""Share of letters without Unicode in a text that is of use."""

_PAGE = re.compile(r"(?:page\s*)?\d{1,5}(?:\s*(?:of|/)\s*\d{1,5})?|[-–]\s*\d{1,5}\s*[-–]", re.IGNORECASE)
_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d).*")
_DIGITS = re.compile(r"\d+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_DOTS = re.compile(r"[.·_ ]{4,}\s*\d*$")
_UNUSABLE_TITLE = re.compile(r"microsoft word|untitled|\.(?:docx?|indd|pdf|tex|dvi)$", re.IGNORECASE)
_INFO = {"Author": "author", "Subject": "subject", "Keywords": "keywords", "CreationDate": "created"}


class Line(NamedTuple):
    """A line of a page. Heights and places are in points, places from the lower edge; 0 if they are unknown."""

    text: str
    height: float = 0.0
    bold: bool = False
    top: float = 0.0
    bottom: float = 0.0


def parse(name: str, content: bytes) -> Document:
    """Read a PDF. Raises UnreadableFile if it is encrypted, broken, or has no text."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableFile("is encrypted", "save it without a password") from None
        raise UnreadableFile("is broken, or no PDF", "save or export it again") from None
    facts = {key: value.strip() for key, value in pdf.get_metadata_dict().items() if value.strip()}
    title = facts.get("Title", "")
    title = "" if " " not in title or _UNUSABLE_TITLE.search(title) else " ".join(title.split())
    builder = DocumentBuilder(name, title)
    scanned: list[int] = []
    broken: list[int] = []
    with builder.filling():
        pages = list(_pages(pdf, builder, scanned, broken))
        _check_letters(pages)
        _build(builder, pages)
    if builder.is_empty:
        if scanned:
            raise UnreadableFile("has no text: scanned?", "run text recognition (OCR) over it, such as ocrmypdf")
        problem = "is broken: none of its pages can be read" if broken else "has no text"
        raise UnreadableFile(problem, "save or export it again")
    if scanned:
        builder.leave_out(f"{listed(scanned)} {_have(scanned)} no text: scanned?")
    if broken:
        builder.leave_out(f"{listed(broken)} {'are' if len(broken) > 1 else 'is'} broken")
    return builder.built(
        {_INFO[key]: _DATE.sub(r"\1-\2-\3", value)[:200] for key, value in facts.items() if key in _INFO}
    )


def listed(pages: Sequence[int]) -> str:
    """Name pages.

    >>> listed([3]), listed([3, 5, 6, 7])
    ('page 3', 'pages 3, 5-7')
    """
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][-1] + 1:
            runs[-1][1:] = [page]
        else:
            runs.append([page])
    shown = ", ".join("-".join(map(str, run)) for run in runs[:20])
    more = ", ..." if len(runs) > 20 else ""
    return f"page{'s' if len(pages) > 1 else ''} {shown}{more}"


def _have(pages: Sequence[int]) -> str:
    return "have" if len(pages) > 1 else "has"


def _pages(
    pdf: pypdfium2.PdfDocument, builder: DocumentBuilder, scanned: list[int], broken: list[int]
) -> Iterator[tuple[int, list[Line]]]:
    import pypdfium2

    if len(pdf) > MAX_PAGES:
        builder.leave_out(f"only the first {MAX_PAGES:,} of {len(pdf):,} pages are read")
    for number in range(1, min(len(pdf), MAX_PAGES) + 1):
        if builder.is_late():
            builder.leave_out(f"the rest from page {number} took too long")
            return
        try:
            page = pdf[number - 1]
            lines = list(_lines(page))
            letters = sum(letter.isalnum() for line in lines for letter in line.text)
            if letters < SHORTEST and _has_image(page):
                scanned.append(number)
            page.close()
        except pypdfium2.PdfiumError:
            broken.append(number)
            continue
        yield number, lines


def _lines(page: pypdfium2.PdfPage) -> Iterator[Line]:
    import pypdfium2.raw as raw

    textpage = page.get_textpage()
    text = textpage.get_text_range()
    # Places are known by UTF-16 unit; where the text does not fit to them, lines go without.
    units = text if text.isascii() or max(text) < "\U00010000" else ""
    known = len(units) == textpage.count_chars()
    start = 0
    for line in text.splitlines(keepends=True):
        shown = line.strip()
        if shown and known:
            first = start + line.index(shown[0])
            last = first + len(shown) - 1
            _, bottom, _, top = textpage.get_charbox(first, loose=True)
            middle = textpage.get_charbox((first + last) // 2, loose=True)
            weights = [raw.FPDFText_GetFontWeight(textpage, at) for at in (first, last)]
            height = max(top - bottom, middle[3] - middle[1])
            yield Line(_plain(shown), height, min(weights) >= 600, top, bottom)
        elif shown:
            yield Line(_plain(shown))
        start += len(line)
    textpage.close()


def _plain(line: str) -> str:
    """A line without the marks of joined hyphens and other control characters."""
    return " ".join(_CONTROL.sub("", line.replace("\x02", "")).split())


def _has_image(page: pypdfium2.PdfPage) -> bool:
    import pypdfium2.raw as raw

    return any(True for _ in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3))


def _check_letters(pages: Sequence[tuple[int, list[Line]]]) -> None:
    """Raise UnreadableFile if the letters have no Unicode: the text would be noise."""
    counts: Counter[bool] = Counter()
    for _, lines in pages:
        for line in lines:
            for letter in line.text:
                if not letter.isspace():
                    counts["\ue000" <= letter <= "\uf8ff" or letter == "\ufffd"] += 1
    if counts[True] > MOST_STRANGE * counts.total():
        remedy = "export it again with Unicode fonts, or run text recognition (OCR) over it"
        raise UnreadableFile("has letters without Unicode, which cannot be read", remedy)


def _build(builder: DocumentBuilder, pages: Sequence[tuple[int, list[Line]]]) -> None:
    running = _running(pages)
    shown = [(number, list(_without(lines, running))) for number, lines in pages]
    body, bold = _body(shown)
    sizes = sorted(
        {round(line.height, 1) for _, lines in shown for line in lines if _is_larger(line, body)}, reverse=True
    )
    levels = {size: min(level, 5) for level, size in enumerate(sizes, start=1)}
    for number, lines in shown:
        for level, text in _paragraphs(lines, body, bold, levels):
            if level:
                builder.heading(level, text, number)
            else:
                builder.add("paragraph", text, number)


def _without(lines: Sequence[Line], running: frozenset[str]) -> Iterator[Line]:
    """The lines of a page without running heads and page numbers."""
    for at, line in enumerate(lines):
        at_edge = at < EDGE or at >= len(lines) - EDGE
        if _pattern(line) not in running and not (at_edge and _PAGE.fullmatch(line.text)):
            yield line


def _pattern(line: Line) -> str:
    return _DIGITS.sub("#", line.text)


def _running(pages: Sequence[tuple[int, list[Line]]]) -> frozenset[str]:
    """The running heads and page numbers, with # for their numbers.

    They stand at an edge of most pages, or, with a number, as the first or last line of three pages.
    """
    seen: Counter[str] = Counter()
    numbered: Counter[str] = Counter()
    for _, lines in pages:
        seen.update({_pattern(line) for line in (*lines[:EDGE], *lines[-EDGE:])})
        numbered.update({pattern for line in (*lines[:1], *lines[-1:]) if "#" in (pattern := _pattern(line))})
    often = {pattern for pattern, count in seen.items() if count >= max(3, 0.6 * len(pages))}
    return frozenset(often | {pattern for pattern, count in numbered.items() if count >= 3})


def _body(pages: Sequence[tuple[int, list[Line]]]) -> tuple[float, bool]:
    """The height of most letters, and whether they are bold."""
    heights: Counter[tuple[float, bool]] = Counter()
    for _, lines in pages:
        for line in lines:
            heights[round(line.height, 1), line.bold] += len(line.text)
    return heights.most_common(1)[0][0] if heights else (0.0, False)


def _is_larger(line: Line, body: float) -> bool:
    return (
        body > 0
        and line.height >= LARGER * body
        and len(line.text) <= MAX_HEADING
        and any(map(str.isalpha, line.text))
        and not _DOTS.search(line.text)
    )


def _paragraphs(lines: Sequence[Line], body: float, bold: bool, levels: dict[float, int]) -> Iterator[tuple[int, str]]:
    """The paragraphs (level 0) and headings of a page."""
    waiting: list[Line] = []
    level = 0
    for line in lines:
        now = levels.get(round(line.height, 1), 0) if _is_larger(line, body) else 0
        if not now and line.bold and not bold and _may_be_heading(line):
            now = BOLD
        if waiting and (now != level or _is_apart(waiting[-1], line, level)):
            yield _joined(waiting, level)
            waiting = []
        level = now
        waiting.append(line)
    if waiting:
        yield _joined(waiting, level)


def _may_be_heading(line: Line) -> bool:
    return len(line.text) <= MAX_HEADING and line.text[-1:] not in ".,;:" and any(map(str.isalpha, line.text))


def _is_apart(before: Line, line: Line, level: int) -> bool:
    """Whether a line begins a new paragraph: there is space above it, or it begins another column."""
    if not before.height or not line.height:
        return False
    space = before.bottom - line.top
    if space < -2 * line.height:  # another column
        return level > 0 or before.text[-1:] in ".!?:"
    return space > APART * line.height or (level == 0 and abs(before.height - line.height) > 0.2 * line.height)


def _joined(lines: Sequence[Line], level: int) -> tuple[int, str]:
    title = " ".join(line.text for line in lines)
    if level and len(title) <= MAX_HEADING and (level < BOLD or len(lines) <= 2):
        return level, title
    return 0, "\n".join(line.text for line in lines)
