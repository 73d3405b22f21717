"""Reads training rows (texts and labels) from CSV, TSV or JSONL. Each problem names its line."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from experts.documents.encoding import Undecodable, text_of
from experts.finetuned.head_file import MAX_LABEL, MAX_LABELS
from swarm.errors import BadInput, TooLarge

MAX_FILE = 64_000_000
MAX_ROWS = 500_000
OUT_OF_SCOPE = "out_of_scope"
"""Label of the rows that have none of the labels. The confidence of a head is fitted on them."""
MAX_LISTED = 20
"""Maximum number of wrong rows that are listed."""
TEXTS = ("text",)
LABELS = ("label", "category", "intent")
"""Accepted names of the label column; Banking77 uses category."""
DELIMITERS = (",", ";", "\t", "|")
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")

_QUOTE = 'quote a text that holds the delimiter: "hello, I want ...",refund'
_OBJECTS = 'write one object a line: {"text": ..., "label": ...}'
_EXPORT = "export it as CSV in UTF-8, with the columns text and label"

Fields = tuple[int, Mapping[str, Any] | BadInput]
"""The line number of a row, and its fields or the error in reading them."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    text: str
    label: str
    line: int = field(default=0, compare=False)
    """Where it begins in its file, from 1; 0 without a file."""


def read_rows(path: Path) -> list[TrainingRow]:
    """Read the rows of a CSV or TSV file with a header, or of a JSONL file.

    Raises BadInput for the first problem, with a note for each further one, at most MAX_LISTED in all.
    """
    name, text = path.name, _text(path)
    objects = path.suffix.lower() in (".jsonl", ".ndjson", ".json") or text.lstrip()[:1] in ("{", "[")
    found: list[TrainingRow] = []
    wrong: dict[int, BadInput] = {}
    columns = _Columns()
    for line, fields in (_jsonl if objects else _csv)(name, text):
        try:
            if isinstance(fields, BadInput):
                raise fields
            found.append(_row(name, line, fields))
            if not objects:
                columns.take(line, fields)
        except BadInput as error:
            wrong[line] = error
    if len(found) > MAX_ROWS:
        raise TooLarge(name, len(found), MAX_ROWS, "rows")
    wrong |= {line: BadInput(f"{name}:{line}", *what) for line, what in columns.shifted()}
    if wrong:
        raise _together([wrong[line] for line in sorted(wrong)])
    check_labels(name, (row.label for row in found if row.label != OUT_OF_SCOPE))
    return found


def _together(wrong: Sequence[BadInput]) -> BadInput:
    """Combine errors: the first, with the others as its notes."""
    first, *others = wrong
    for error in others[: MAX_LISTED - 1]:
        first.add_note(str(error))
    if (more := len(wrong) - MAX_LISTED) > 0:
        first.add_note(f"and {more:,} more rows are wrong")
    return first


def check_labels(name: str, labels: Iterable[str]) -> None:
    """Raise BadInput unless there are two to MAX_LABELS labels."""
    found = sorted(set(labels))
    if len(found) < 2:
        only = f"has only rows of the label {found[0]!r}" if found else "has no rows"
        _wrong(name, only, "give rows of at least two labels")
    if len(found) > MAX_LABELS:
        raise TooLarge(name, len(found), MAX_LABELS, "labels")


def contradictory(rows: Iterable[TrainingRow]) -> tuple[tuple[TrainingRow, ...], ...]:
    """Group the rows that give one text several labels, the first row of each label; blanks do not count."""
    first: dict[str, dict[str, TrainingRow]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (row.line, row.label, row.text)):
        first[" ".join(row.text.split())].setdefault(row.label, row)
    return tuple(tuple(labels.values()) for labels in first.values() if len(labels) > 1)


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
    if isinstance(header, BadInput):
        raise header
    names = _trimmed([cell.strip().lower() for cell in header])
    _one_of_each(f"{name}:1", "column", names)
    for line, cells in lines:
        if isinstance(cells, BadInput):
            yield line, cells
            continue
        filled = _trimmed(cells)
        if not filled:
            continue
        if len(filled) > len(names):
            problem = f"has {len(filled)} fields, but the first line names {len(names)} columns"
            yield line, BadInput(f"{name}:{line}", problem, _QUOTE)
        elif [cell.strip().lower() for cell in filled] == names:
            yield line, BadInput(f"{name}:{line}", "repeats the first line", "remove it")
        else:
            yield line, dict(zip(names, cells, strict=False))


def _one_of_each(place: str, what: str, names: Sequence[str]) -> None:
    """Raise BadInput if several columns may be the text or the label; `label` takes precedence over its other names."""
    for known in (TEXTS, LABELS):
        there = [name for name in names if name in known]
        if len(set(there)) < len(there):
            _wrong(place, f"names the {what} {there[0]} twice", "rename or remove one of them")
        if len(there) > 1 and "label" not in there:
            named = " and ".join(there)
            _wrong(place, f"has the {what}s {named}, each of which may be the label", "rename or remove all but one")


def _delimiter(name: str, text: str) -> str:
    """The column delimiter: the one with which the header has a text and a label."""
    first = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    for delimiter in DELIMITERS:
        names = {cell.strip().strip('"').lower() for cell in first.split(delimiter)}
        if names & set(TEXTS) and names & set(LABELS):
            return delimiter
    shown = first if len(first) <= 80 else first[:77] + "..."
    problem = f"has no columns text and label, but {shown!r}"
    raise BadInput(f"{name}:1", problem, "begin the file with the line: text,label")


def _cells(name: str, text: str, delimiter: str) -> Iterator[tuple[int, Sequence[str] | BadInput]]:
    """Each row with the line where it begins: an unclosed quote would otherwise be reported for the last line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begun = 1
    try:
        for cells in reader:
            if cells:
                yield begun, cells
            begun = reader.line_num + 1
    except csv.Error as error:
        why = "a quote is not closed" if "end of data" in str(error) else str(error)
        remedy = 'quote texts that hold delimiters or quotes: "say ""hi"", then"'
        yield begun, BadInput(f"{name}:{begun}", f"is no CSV ({why})", remedy)  # the rest cannot be read


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Drop the empty cells at the end of a row, which spreadsheets leave."""
    filled = [number for number, cell in enumerate(cells, 1) if cell.strip()]
    return list(cells[: filled[-1]]) if filled else []


class _Columns:
    """Detects rows in which an unquoted delimiter in the text has shifted the label."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, dict[str, str]]] = []
        """Line, the cell of the label, and the cells to which a longer text before it would shift it."""

    def take(self, line: int, fields: Mapping[str, str]) -> None:
        names = list(fields)
        label = next(name for name in LABELS if name in fields)
        moves = names.index("text") < names.index(label)
        behind = [name for name in names[names.index(label) :] if moves and name not in TEXTS + LABELS]
        self._rows.append((line, fields[label], {name: fields[name].strip() for name in behind}))

    def shifted(self) -> Iterator[tuple[int, tuple[str, str]]]:
        """Rows whose label occurs nowhere else and seems to be a part of the text, as (line, (problem, remedy))."""
        counts = Counter(label.strip() for _, label, _ in self._rows)
        spaced = sum(label[:1].isspace() for _, label, _ in self._rows)
        beside = Counter(n for _, _, others in self._rows for n, cell in others.items() if cell in counts)
        for line, label, others in self._rows:
            if counts[label.strip()] > 1:
                continue
            its = f"has the label {label.strip()[:80]!r}, which no other row has"
            moved = [
                name
                for name, cell in others.items()
                if cell in counts and cell != label.strip() and 2 * beside[name] < len(self._rows)
            ]
            if moved:
                yield line, (f"{its}, and the label {others[moved[0]]!r} in the column {moved[0]!r}", _QUOTE)
            elif label[:1].isspace() and 2 * spaced < len(self._rows):
                yield line, (f"{its}, after a delimiter and a blank, as in a sentence", _QUOTE)


# -- JSONL -------------------------------------------------------------------------------------------------------


def _jsonl(name: str, text: str) -> Iterator[Fields]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            yield line, _object(f"{name}:{line}", content)
        except BadInput as error:
            yield line, error


def _object(place: str, content: str) -> Mapping[str, Any]:
    try:
        pairs = json.loads(content, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        _wrong(place, "is no JSON", _OBJECTS)
    if not isinstance(pairs, _Pairs):
        _wrong(place, "is no object", _OBJECTS)
    _one_of_each(place, "field", [key for key, value in pairs if value is not None])
    fields = dict(pairs)
    return _chat(fields["messages"]) if isinstance(fields.get("messages"), list) else fields


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs, duplicate keys included."""


def _chat(messages: Sequence[Any]) -> dict[str, Any]:
    """Convert a chat into a row: the assistant's last message is the label, the user's message before it the text."""
    said = [dict(message) for message in messages if isinstance(message, _Pairs)]
    answers = [number for number, message in enumerate(said) if message.get("role") == "assistant"]
    asked = [message for message in said[: answers[-1] if answers else None] if message.get("role") == "user"]
    return {
        "text": _words(asked[-1].get("content")) if asked else None,
        "label": _words(said[answers[-1]].get("content")) if answers else None,
    }


def _words(content: object) -> object:
    """The text of a message, whose content may be a list of parts."""
    if not isinstance(content, list):
        return content
    return "\n".join(str(dict(part).get("text") or "") for part in content if isinstance(part, _Pairs))


# -- rows --------------------------------------------------------------------------------------------------------


def _row(name: str, line: int, fields: Mapping[str, Any]) -> TrainingRow:
    place = f"{name}:{line}"
    text = fields.get("text")
    label = next((fields[one] for one in LABELS if fields.get(one) is not None), None)
    if isinstance(label, int | float) and math.isfinite(label):
        # tools write 1 as 1.0 if a value of the column is missing
        label = json.dumps(int(label) if isinstance(label, float) and label.is_integer() else label)
    if not isinstance(text, str) or not text.strip():
        _wrong(place, "has no text", "fill it in, or remove the row")
    if label is not None and not isinstance(label, str):
        shown = dict(label) if isinstance(label, _Pairs) else label
        _wrong(place, f"has a label that is not a text but {str(shown)[:80]}", "give one text or number")
    if not label or not label.strip():
        _wrong(place, "has no label", "fill it in, or remove the row")
    if len(label.strip()) > MAX_LABEL:
        _wrong(place, f"has a label of {len(label):,} characters", f"at most {MAX_LABEL} are accepted")
    return TrainingRow(text.strip(), label.strip(), line)


def _wrong(place: str, problem: str, remedy: str) -> NoReturn:
    raise BadInput(place, problem, remedy)
