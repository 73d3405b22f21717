"""Documents as bytes: text files as they are, parsed files of other formats as compact JSON."""

from __future__ import annotations

import json

from experts.documents.base import Block, Document
from experts.documents.formats import FORMATS, suffix_of
from experts.documents.markdown import read_markdown
from swarm.errors import UnusableInput

FORMAT = 1
"""Version of the JSON form."""


def encoded(document: Document) -> bytes:
    """The JSON form of a document. Equal documents give equal bytes; the name is not part of it."""
    paths: dict[tuple[str, ...], int] = {}
    headers: dict[str, int] = {"": 0}
    blocks = [
        [
            block.kind, block.text, paths.setdefault(block.headings, len(paths)), block.page, block.lines,
            headers.setdefault(block.header, len(headers)),
        ]
        for block in document.blocks
    ]  # fmt: skip
    value = {
        "format": FORMAT, "title": document.title, "metadata": dict(document.metadata), "partly": document.partly,
        "warnings": document.warnings,
        "paths": list(paths), "headers": list(headers), "blocks": blocks,
    }  # fmt: skip
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def decode(name: str, content: bytes) -> Document:
    """Read a document from its JSON form. Raises UnusableInput."""
    try:
        value = json.loads(content)
        if value["format"] != FORMAT:
            raise ValueError(value["format"])
        paths, headers = [tuple(path) for path in value["paths"]], value["headers"]
        blocks = tuple(
            Block(kind, text, paths[path], page, (lines[0], lines[1]) if lines else None, headers[header])
            for kind, text, path, page, lines, header in value["blocks"]
        )
        return Document(
            name, blocks, value["title"], value["metadata"], tuple(value["partly"]), tuple(value["warnings"])
        )
    except (ValueError, KeyError, TypeError, IndexError):
        raise UnusableInput(f"the document {name!r} was parsed by another version; publish the catalog again") from None


def load(name: str, content: bytes) -> Document:
    """Read a stored document: JSON if its format is one that is parsed, else UTF-8. Raises UnusableInput."""
    if suffix_of(name) in FORMATS:
        return decode(name, content)
    try:
        return read_markdown(name, content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UnusableInput(f"the document {name!r} is not UTF-8; save it as UTF-8 and publish again") from None
