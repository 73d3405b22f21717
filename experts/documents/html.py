"""Reads HTML with selectolax: headings, paragraphs, lists, tables and code of the page's main part.

Menus, footers, scripts and hidden parts are left out. A list stays with the line above it.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from experts.documents.base import Document, UnreadableFile
from experts.documents.builder import DocumentBuilder
from experts.documents.encoding import Undecodable, decoded

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

SKIPPED = frozenset(
    "script style template noscript nav footer aside svg math head iframe object button select textarea audio video"
    " canvas dialog".split()
)
SKIPPED_ROLES = frozenset(("navigation", "search", "contentinfo", "menu", "banner"))
BLOCKS = frozenset(
    "address article blockquote body center dd details div dl dt fieldset figcaption figure footer form header hr"
    " legend main ol p section summary ul table tbody thead tfoot tr td th caption".split()
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
LISTS = frozenset(("ul", "ol", "menu"))
LIST_FULL = 1_200
"""Characters at which a list is continued in another paragraph."""
MAIN = 200
"""Minimum characters of a main part, without which the whole page is read."""
LONGEST_CELL = 1_000
"""Characters of a cell from which on a table is layout."""

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s{0,10}=\s{0,10}[\"']?\s{0,10}([\w.:-]{1,40})", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\v\u200b\u00ad]+")
_HIDDEN = re.compile(r"display\s{0,5}:\s{0,5}none|visibility\s{0,5}:\s{0,5}hidden", re.IGNORECASE)


def parse(name: str, content: bytes) -> Document:
    """Read a page. Raises UnreadableFile if it is not text or has none."""
    document = read_html(name, page_text(content))
    if not document.blocks:
        raise UnreadableFile("has no text", "save the page as it is shown, or remove it")
    return document


def page_text(content: bytes) -> str:
    """Decode a page by its byte order mark or as it declares, else as any other text. Raises UnreadableFile."""
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
            return decoded(content)[0]
        declared = _CHARSET.search(content[:4_096])
        if declared and (codec := _codec(declared[1].decode("ascii"))):
            return content.decode(codec, "replace")
        return decoded(content)[0]
    except Undecodable as error:
        raise UnreadableFile(str(error), "save it as UTF-8") from None


def _codec(declared: str) -> str:
    """The codec of a declared encoding; empty if it is unknown or UTF-8, which is checked like any other text."""
    try:
        name = codecs.lookup({"iso-8859-1": "cp1252", "latin1": "cp1252"}.get(declared.lower(), declared)).name
    except LookupError:
        return ""
    return "" if name.startswith("utf") or name in ("base64", "hex", "zlib", "bz2", "rot13", "quopri", "uu") else name


def read_html(name: str, text: str) -> Document:
    """Read the main part of a page."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    title_node = tree.css_first("title")
    title = _flat(title_node.text()) if title_node else ""
    metadata = {}
    for node in tree.css("meta[name]"):
        key, value = (node.attributes.get("name") or "").lower(), node.attributes.get("content") or ""
        if key in ("author", "description", "date") and value.strip():
            metadata[key] = _flat(value)[:200]
    main = tree.css_first("main, [role=main]")
    whole = main if main is not None and len(main.text().strip()) >= MAIN else tree.body
    has_heading = whole is not None and whole.css_first("h1") is not None
    builder = DocumentBuilder(name, "" if has_heading else title)
    builder.title = title
    with builder.filling():
        if whole is not None:
            reader = _Reader(builder)
            reader.read(whole)
            reader.flush()
    return builder.built(metadata)


def _flat(text: str) -> str:
    return " ".join(_SPACE.sub(" ", text).split())


class _Reader:
    """Walks a page without recursion, and collects running text until a block begins or ends."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._text: list[str] = []
        self._size = 0
        self._lists = 0

    def read(self, root: LexborNode) -> None:
        stack: list[tuple[LexborNode, bool]] = [(root, True)]
        while stack:
            node, opens = stack.pop()
            tag = node.tag or ""
            if tag == "-text":
                self._append(_SPACE.sub(" ", node.text(deep=False)))
            elif not opens:
                self._close(tag)
            elif tag.startswith("-") or tag in SKIPPED or _is_hidden(node):
                continue
            elif tag == "pre":
                self.flush()
                self._builder.add("code", node.text().strip("\n"))
            elif tag in HEADINGS:
                self.flush()
                self._builder.heading(HEADINGS[tag], _heading_text(node))
            elif tag != "table" or not self._read_table(node):
                self._open(tag)
                stack.append((node, False))
                stack.extend((child, True) for child in reversed(list(node.iter(include_text=True))))

    def flush(self) -> None:
        """End the paragraph."""
        lines = (" ".join(line.split()) for line in "".join(self._text).split("\n"))
        self._text, self._size = [], 0
        text = "\n".join(line for line in lines if line not in ("", "-"))
        if any(map(str.isalnum, text)):
            self._builder.add("paragraph", text)

    def _append(self, text: str) -> None:
        self._text.append(text)
        self._size += len(text)

    def _open(self, tag: str) -> None:
        if tag in LISTS:
            self._lists += 1
        elif tag == "br":
            self._append("\n")
        elif tag == "li":
            if self._size > LIST_FULL:
                self.flush()
            self._append("\n- ")
        elif tag in BLOCKS and not self._lists:
            self.flush()

    def _close(self, tag: str) -> None:
        if tag in LISTS:
            self._lists -= 1
            if not self._lists:
                self.flush()
        elif tag in BLOCKS:
            if self._lists:
                self._append("\n")
            elif tag != "p" or not self._introduces():
                self.flush()

    def _introduces(self) -> bool:
        """Whether the running text introduces a list that may follow."""
        return "".join(self._text[-3:]).rstrip().endswith(":")

    def _read_table(self, table: LexborNode) -> bool:
        """Add the rows of a table; False if it is layout."""
        if table.css_first("table table, table h1, table h2, table h3, table pre"):
            return False
        rows = [[cell for cell in row.iter() if cell.tag in ("td", "th")] for row in table.css("tr")]
        texts = [[_flat(cell.text(separator=" ")) for cell in row] for row in rows]
        if max(map(len, texts), default=0) < 2 or max(len(cell) for row in texts for cell in row) > LONGEST_CELL:
            return False
        self.flush()
        header = ""
        for cells, row in zip(rows, texts, strict=True):
            if not any(row):
                continue
            if not header and all(cell.tag == "th" for cell in cells):
                header = self._builder.add_header(row)
            else:
                self._builder.add_row(row, header)
        return True


def _heading_text(node: LexborNode) -> str:
    """The text of a heading without its anchor and buttons."""
    for inner in [*node.css("a"), *node.css("button, script, style, svg")]:
        if inner.tag != "a" or not any(map(str.isalnum, inner.text())):
            inner.decompose()
    return _flat(node.text())


def _is_hidden(node: LexborNode) -> bool:
    found = node.attributes
    return bool(
        "hidden" in found
        or found.get("aria-hidden") == "true"
        or found.get("role") in SKIPPED_ROLES
        or _HIDDEN.search((found.get("style") or "")[:500])
    )
