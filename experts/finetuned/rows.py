"""Training rows: texts and their labels, out of a CSV or JSONL file. What is wrong is told with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from swarm.errors import BadInput, TooLarge

MAX_FILE = 64_000_000
MAX_ROWS = 500_000
MAX_LABELS = 1_000
MAX_LABEL = 200
TEXTS = ("text",)
LABELS = ("label", "category", "intent")
"""Names that a column may have; Banking77 says category."""


class Row(NamedTuple):
    text: str
    label: str


def read_rows(path: Path) -> list[Row]:
    """The rows of a `.csv` (with a header) or `.jsonl` file, or BadInput for the first thing that is wrong."""
    name, text = path.name, _text(path)
    read = _jsonl if path.suffix.lower() in (".jsonl", ".ndjson") else _csv
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
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _wrong(f"{path.name}:{line}", "is not UTF-8", "save the file as UTF-8")


def _csv(name: str, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = {str(field).strip().lower(): field for field in reader.fieldnames or ()}
        columns = {one: header.get(one) for one in (*TEXTS, *LABELS)}
        if not columns["text"] or not any(columns[one] for one in LABELS):
            _wrong(f"{name}:1", "has no columns text and label", "begin the file with the line: text,label")
        for fields in reader:
            yield reader.line_num, {one: fields[field] for one, field in columns.items() if field}
    except csv.Error as error:
        _wrong(f"{name}:{reader.line_num}", f"is no CSV ({error})", "quote texts that hold commas, quotes or lines")


def _jsonl(name: str, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            _wrong(f"{name}:{line}", "is no JSON", 'write one object a line: {"text": ..., "label": ...}')
        if not isinstance(fields, dict):
            _wrong(f"{name}:{line}", "is no object", 'write one object a line: {"text": ..., "label": ...}')
        yield line, fields


def _row(name: str, line: int, fields: Mapping[str, Any]) -> Row:
    place = f"{name}:{line}"
    text, label = fields.get("text"), next((fields[one] for one in LABELS if fields.get(one)), None)
    if not isinstance(text, str) or not text.strip():
        _wrong(place, "has no text", "fill it in, or remove the row")
    if not isinstance(label, str) or not label.strip():
        _wrong(place, "has no label", "fill it in, or remove the row")
    if len(label.strip()) > MAX_LABEL:
        _wrong(place, f"has a label of {len(label):,} characters", f"at most {MAX_LABEL} are accepted")
    return Row(text.strip(), label.strip())


def _wrong(place: str, problem: str, remedy: str) -> NoReturn:
    raise BadInput(place, problem, remedy)
