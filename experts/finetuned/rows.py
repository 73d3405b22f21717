"""Training rows: texts and their labels, out of a CSV, TSV or JSONL file. What is wrong is told with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from experts.encoding import Undecodable, text_of
from swarm.errors import BadInput, TooLarge

MAX_FILE = 64_000_000
MAX_ROWS = 500_000
MAX_LABELS = 1_000
MAX_LABEL = 200
TEXTS = ("text",)
LABELS = ("label", "category", "intent")
"""Names that a column may have; Banking77 says category."""
DELIMITERS = (",", ";", "\t", "|")
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")

_OBJECTS = 'write one object a line: {"text": ..., "label": ...}'
_EXPORT = "export it as CSV in UTF-8, with the columns text and label"

Fields = tuple[int, Mapping[str, Any]]
"""A row's line and its fields."""


class Row(NamedTuple):
    text: str
    label: str


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV or TSV file with a header, or of a JSONL file; BadInput for the first thing that is wrong."""
    name, text = path.name, _text(path)
    objects = path.suffix.lower() in (".jsonl", ".ndjson", ".json") or text.lstrip()[:1] in ("{", "[")
    read = _jsonl if objects else _csv
    rows = [_row(name, line, fields) for line, fields in read(name, text)]
    if len(rows) > MAX_ROWS:
        raise TooLarge(name, len(rows), MAX_ROWS, "rows")
    check_labels(name, (row.label for row in rows))
    return rows


def check_labels(name: str, labels: Iterable[str]) -> None:
    """BadInput unless there is something to tell apart."""
    found = sorted(set(labels))
    if len(found) < 2:
        _wrong(name, f"has rows of {len(found)} label(s)", "give rows of at least two labels")
    if len(found) > MAX_LABELS:
        raise TooLarge(name, len(found), MAX_LABELS, "labels")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        _wrong(path.name, f"cannot be read ({error.strerror})", "name a CSV or JSONL file")
    if len(content) > MAX_FILE:
        raise TooLarge(path.name, path.stat().st_size, MAX_FILE)
    if path.suffix.lower() in SHEETS:
        _wrong(path.name, "is a spreadsheet, not text", _EXPORT)
    try:
        text = text_of(content)
    except Undecodable as error:
        line = content.count(b"\n", 0, error.start) + 1
        _wrong(f"{path.name}:{line}", "is not UTF-8", "save the file as UTF-8 text")
    if "\0" in text or content.startswith(b"PK\x03\x04"):
        _wrong(path.name, "is no text file", _EXPORT)
    return text


# -- CSV ---------------------------------------------------------------------------------------------------------


def _csv(name: str, text: str) -> Iterator[Fields]:
    lines = _cells(name, text, _delimiter(name, text))
    _, header = next(lines)
    names = _trimmed([cell.strip().lower() for cell in header])
    for line, cells in lines:
        filled = _trimmed(cells)
        if not filled:
            continue
        if len(filled) > len(names):
            problem = f"has {len(filled)} fields, but the first line names {len(names)} columns"
            _wrong(f"{name}:{line}", problem, 'quote a text that holds the delimiter: "hello, I want ...",refund')
        yield line, dict(zip(names, cells, strict=False))


def _delimiter(name: str, text: str) -> str:
    """What separates the columns: with it, the first line names a text and a label."""
    first = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    for delimiter in DELIMITERS:
        names = {cell.strip().strip('"').lower() for cell in first.split(delimiter)}
        if names & set(TEXTS) and names & set(LABELS):
            return delimiter
    shown = first if len(first) <= 80 else first[:77] + "..."
    problem = f"has no columns text and label, but {shown!r}"
    raise BadInput(f"{name}:1", problem, "begin the file with the line: text,label")


def _cells(name: str, text: str, delimiter: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Each row with the line where it begins: a quote that is never closed would blame the last one."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begun = 1
    try:
        for cells in reader:
            if cells:
                yield begun, cells
            begun = reader.line_num + 1
    except csv.Error as error:
        why = "a quote is not closed" if "end of data" in str(error) else str(error)
        _wrong(
            f"{name}:{begun}", f"is no CSV ({why})", 'quote texts that hold delimiters or quotes: "say ""hi"", then"'
        )


def _trimmed(cells: Sequence[str]) -> list[str]:
    """The cells without empty ones at the end, as spreadsheets leave them."""
    filled = [number for number, cell in enumerate(cells, 1) if cell.strip()]
    return list(cells[: filled[-1]]) if filled else []


# -- JSONL -------------------------------------------------------------------------------------------------------


def _jsonl(name: str, text: str) -> Iterator[Fields]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            _wrong(f"{name}:{line}", "is no JSON", _OBJECTS)
        if not isinstance(fields, dict):
            _wrong(f"{name}:{line}", "is no object", _OBJECTS)
        yield line, _chat(fields["messages"]) if isinstance(fields.get("messages"), list) else fields


def _chat(messages: Sequence[Any]) -> dict[str, Any]:
    """A conversation as a row: its label is what the assistant says last, its text what the user said before."""
    said = [message for message in messages if isinstance(message, dict)]
    answers = [number for number, message in enumerate(said) if message.get("role") == "assistant"]
    asked = [message for message in said[: answers[-1] if answers else None] if message.get("role") == "user"]
    return {
        "text": _words(asked[-1].get("content")) if asked else None,
        "label": _words(said[answers[-1]].get("content")) if answers else None,
    }


def _words(content: object) -> object:
    """The text of a message, which may come in parts."""
    if not isinstance(content, list):
        return content
    return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


# -- rows --------------------------------------------------------------------------------------------------------


def _row(name: str, line: int, fields: Mapping[str, Any]) -> Row:
    place = f"{name}:{line}"
    text = fields.get("text")
    label = next((fields[one] for one in LABELS if fields.get(one) is not None), None)
    if isinstance(label, int | float):
        label = json.dumps(label)
    if not isinstance(text, str) or not text.strip():
        _wrong(place, "has no text", "fill it in, or remove the row")
    if label is not None and not isinstance(label, str):
        _wrong(place, f"has a label that is no text, but {str(label)[:80]}", "give one text or number")
    if not label or not label.strip():
        _wrong(place, "has no label", "fill it in, or remove the row")
    if len(label.strip()) > MAX_LABEL:
        _wrong(place, f"has a label of {len(label):,} characters", f"at most {MAX_LABEL} are accepted")
    return Row(text.strip(), label.strip())


def _wrong(place: str, problem: str, remedy: str) -> NoReturn:
    raise BadInput(place, problem, remedy)
