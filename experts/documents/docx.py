"""Reads DOCX files with the standard library: headings by style, paragraphs, lists, tables and footnotes.

Deleted text, headers and footers are left out. Pages are not known before a program lays the text out.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from experts.documents.base import Document, UnreadableFile
from experts.documents.builder import DocumentBuilder
from experts.documents.zip_file import open_zip, read_part

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_STRICT = b"http://purl.oclc.org/ooxml/wordprocessingml/main"
_STYLE = re.compile(r"heading\s{0,3}([1-9])|(title)", re.IGNORECASE)
_DELETED = {f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "delText")}
_ALTERNATIVE = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
"""A second form of a drawing's text, for old programs."""
_BROKEN = "save or export it again"

BOLD = 9
"""Level of headings that are bold and have no style."""

Element = ElementTree.Element


def parse(name: str, content: bytes) -> Document:
    """Read a DOCX file. Raises UnreadableFile if it is encrypted, broken, unpacks to too much, or has no text."""
    with open_zip(content, "DOCX") as archive:
        main = _xml(archive, "word/document.xml")
        if main is None:
            raise UnreadableFile("is no DOCX: it has no word/document.xml", _BROKEN)
        styles, core = _xml(archive, "word/styles.xml"), _xml(archive, "docProps/core.xml")
        notes = [_xml(archive, f"word/{part}.xml") for part in ("footnotes", "endnotes")]
    title = (core.findtext(f"{_DC}title") or "").strip() if core is not None else ""
    author = (core.findtext(f"{_DC}creator") or "").strip() if core is not None else ""
    builder = DocumentBuilder(name, " ".join(title.split()))
    reader = _Reader(builder, _levels(styles))
    with builder.filling():
        body = main.find(f"{_W}body")
        reader.read(main if body is None else body)
        for part in notes:
            for note in () if part is None else part:
                reader.read(note)
    if builder.is_empty:
        raise UnreadableFile("has no text", "write something into it, or remove it")
    return builder.built({"author": author[:200]} if author else {})


def _xml(archive: zipfile.ZipFile, path: str) -> Element | None:
    content = read_part(archive, path)
    if content is None:
        return None
    if b"<!DOCTYPE" in content[:4_096] or b"<!ENTITY" in content:
        raise UnreadableFile("declares XML entities, which no office program writes", _BROKEN)
    content = content.replace(_STRICT, _W[1:-1].encode())
    try:
        return ElementTree.parse(io.BytesIO(content)).getroot()  # noqa: S314 - without entities, within limits
    except ElementTree.ParseError:
        raise UnreadableFile("is broken: a part of it is not XML", _BROKEN) from None


def _levels(styles: Element | None) -> Mapping[str, int]:
    """The heading level of each style that is one, by its id; those based on it included."""
    levels: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in () if styles is None else styles.iter(f"{_W}style"):
        key, label = style.get(f"{_W}styleId", ""), style.find(f"{_W}name")
        outline, parent = style.find(f"{_W}pPr/{_W}outlineLvl"), style.find(f"{_W}basedOn")
        named = _STYLE.fullmatch(label.get(f"{_W}val", "")) if label is not None else None
        if named:
            levels[key] = int(named[1]) if named[1] else 1
        elif outline is not None and (value := outline.get(f"{_W}val", "9")).isdigit() and int(value) < 9:
            levels[key] = int(value) + 1
        if parent is not None:
            based[key] = parent.get(f"{_W}val", "")
    for key in based:
        if key not in levels and (parent_key := based[key]) in levels:
            levels[key] = levels[parent_key]
    return levels


class _Reader:
    """Adds paragraphs and tables of a part in their order."""

    def __init__(self, builder: DocumentBuilder, levels: Mapping[str, int]) -> None:
        self._builder, self._levels = builder, levels
        self._list: list[str] = []

    def read(self, container: Element) -> None:
        for child in _blocks(container):
            if child.tag == f"{_W}tbl":
                self._end_list()
                self._read_table(child)
            else:
                self._read_paragraph(child)
        self._end_list()

    def _read_paragraph(self, paragraph: Element) -> None:
        text = _text(paragraph)
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        level = self._levels.get(style.get(f"{_W}val", ""), 0) if style is not None else 0
        if not level and _is_bold(paragraph) and _may_be_heading(text):
            level = BOLD
        if level and text:
            self._end_list()
            self._builder.heading(level, " ".join(text.split()))
        elif paragraph.find(f"{_W}pPr/{_W}numPr") is not None and text:
            self._list.append(f"- {text}")
        elif text:
            self._end_list()
            if text.endswith(":") and len(text) < 300:
                self._list.append(text)  # it introduces a list
            else:
                self._builder.add("paragraph", text)

    def _end_list(self) -> None:
        items, self._list = self._list, []
        self._builder.add("paragraph", "\n".join(items))

    def _read_table(self, table: Element) -> None:
        rows = [[_cell(cell) for cell in _children(row, "tc")] for row in _children(table, "tr")]
        rows = [row for row in rows if any(row)]
        if max(map(len, rows), default=0) < 2:
            for row in rows:
                self._builder.add("paragraph", "\n".join(row))
            return
        header = self._builder.add_header(rows[0])
        for row in rows[1:]:
            self._builder.add_row(row, header)


def _blocks(container: Element) -> Iterator[Element]:
    """Paragraphs and tables in reading order, through content controls and the like. No recursion."""
    stack = list(reversed(container))
    while stack:
        child = stack.pop()
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif child.tag not in _DELETED and child.tag != _ALTERNATIVE:
            stack.extend(reversed(child))


def _children(container: Element, name: str) -> Iterator[Element]:
    """The rows of a table, or cells of a row, through content controls."""
    stack = list(reversed(container))
    while stack:
        child = stack.pop()
        if child.tag == f"{_W}{name}":
            yield child
        elif child.tag == f"{_W}sdt" or child.tag == f"{_W}sdtContent":
            stack.extend(reversed(child))


def _is_bold(paragraph: Element) -> bool:
    """Whether all of the text is bold."""
    runs = [run for run in paragraph.iter(f"{_W}r") if any((part.text or "").strip() for part in run.iter(f"{_W}t"))]
    marks = [run.find(f"{_W}rPr/{_W}b") for run in runs]
    return bool(marks) and all(mark is not None and mark.get(f"{_W}val") not in ("0", "false") for mark in marks)


def _may_be_heading(text: str) -> bool:
    return 0 < len(text) <= 100 and "\n" not in text and text[-1] not in ".,;:" and any(map(str.isalpha, text))


def _cell(cell: Element) -> str:
    return " ".join(" ".join(_text(paragraph) for paragraph in cell.iter(f"{_W}p")).split())


def _text(paragraph: Element) -> str:
    """The text of a paragraph without deleted parts. No recursion: a hostile file nests deeply."""
    found: list[str] = []
    stack = [paragraph]
    while stack:
        element = stack.pop()
        if element.tag in _DELETED or element.tag == _ALTERNATIVE:
            continue
        if element.tag == f"{_W}t":
            found.append(element.text or "")
        elif element.tag in (f"{_W}tab", f"{_W}ptab"):
            found.append(" ")
        elif element.tag in (f"{_W}br", f"{_W}cr"):
            found.append("\n")
        elif element.tag == f"{_W}noBreakHyphen":
            found.append("-")
        stack.extend(reversed(element))
    return "\n".join(" ".join(line.split()) for line in "".join(found).split("\n")).strip()
