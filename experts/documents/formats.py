"""The formats of documents by their endings: which parser reads each, and which library it needs."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from experts.documents.base import Document, UnreadableFile

TEXT = (".md", ".markdown", ".rst", ".txt", ".text")
"""Endings of files that are stored as they are."""
REMEDY = "pip install 'swarm-router[documents]'"

Parser = Callable[[str, bytes], Document]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that a child process parses."""

    module: str
    """Module of `experts.documents` whose function `parse` reads it."""
    library: str = ""
    """The module that the parser imports, if it is not of the standard library."""


FORMATS: Mapping[str, Format] = {
    ".pdf": Format("pdf", "pypdfium2"),
    ".docx": Format("docx"),
    ".html": Format("html", "selectolax"),
    ".htm": Format("html", "selectolax"),
    ".xhtml": Format("html", "selectolax"),
    ".csv": Format("delimited"),
    ".tsv": Format("delimited"),
    ".xlsx": Format("spreadsheet", "python_calamine"),
    ".xls": Format("spreadsheet", "python_calamine"),
    ".ods": Format("spreadsheet", "python_calamine"),
    ".eml": Format("mail"),
}
SUFFIXES = (*TEXT, *FORMATS)
KINDS = "Markdown, text, PDF, DOCX, HTML, CSV, XLSX or EML"


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def is_text(name: str) -> bool:
    return suffix_of(name) in TEXT


def require_library(name: str) -> None:
    """Raise UnreadableFile if the library that parses this file is not installed."""
    library = FORMATS[suffix_of(name)].library
    if library and importlib.util.find_spec(library) is None:
        raise UnreadableFile(f"needs {library}, which is not installed", REMEDY)


def parser_of(name: str) -> Parser:
    """The parser of a file that is no text file. It raises UnreadableFile."""
    module = importlib.import_module(f"experts.documents.{FORMATS[suffix_of(name)].module}")
    parse: Parser = module.parse
    return parse
