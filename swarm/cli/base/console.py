"""Print JSON documents, or lines for people. Foreign text is cleaned, so it cannot control the terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from typing import Any, TextIO

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from swarm.cli.base.exit_codes import PipeClosed

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace characters that control a terminal: escapes, other control characters, changes of direction.

    >>> clean("a\\x1b[31mb")
    'a\ufffd[31mb'
    """
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))


def flat(text: str, width: int = 0) -> str:
    """Return `clean` text on one line, cut to `width` if that is given."""
    return _cut(" ".join(clean(text).split()), width)


def headline(text: str, width: int) -> str:
    """The first paragraph of a text, `flat`. An ellipsis stands for what follows, such as appended results.

    >>> headline("Write a reply.\\n\\nResult of t1 (triage): ${t1}", 90)
    'Write a reply. …'
    """
    first, _, rest = text.strip().partition("\n\n")
    return flat(f"{first} …" if rest else first, width)


def _cut(line: str, width: int) -> str:
    return line if not width or len(line) <= width else line[: width - 1].rstrip() + "…"


_documents: ContextVar[TextIO | None] = ContextVar("documents", default=None)
"""The stream for JSON documents, while it is reserved for them."""


@contextmanager
def only_documents() -> Iterator[None]:
    """Reserve standard output for JSON documents: other prints in the block go to standard error."""
    token = _documents.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _documents.reset(token)


class Screen:
    """Prints results on standard output, progress and notes on standard error; with `as_json` only documents."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out, self.err = _Console(), _Console(stderr=True)

    def document(self, value: BaseModel | dict[str, Any]) -> None:
        """Print one JSON document on one line, if JSON is requested."""
        if self.as_json:
            plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            self._write(json.dumps(plain) + "\n")

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Print a line of the result. A part is text, or text and its style."""
        if not self.as_json:
            self.out.print(line(*parts), soft_wrap=True)

    def note(self, *parts: str | tuple[str, str]) -> None:
        """Print a note for people on standard error."""
        if not self.as_json:
            self.err.print(line(*parts), soft_wrap=True)

    def busy(self, what: str) -> AbstractContextManager[object]:
        """Show a spinner on a terminal; elsewhere nothing."""
        return self.err.status(what) if self.err.is_terminal and not self.as_json else nullcontext()

    def columns(self, rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> None:
        """Print rows with aligned columns. On a terminal a row is cut to one line, elsewhere nothing is cut."""
        every = [*([heads] if heads else []), *rows]
        widths = [max(len(flat(cell)) for cell in column) for column in zip(*every, strict=True)]
        for row in every:
            cells = [flat(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
            text = _cut("  ".join(cells).rstrip(), self.out.width if self.out.is_terminal else 0)
            self.line((text, "bold") if row is heads else text)

    def _write(self, text: str) -> None:
        try:
            out = _documents.get() or sys.stdout
            out.write(text)
            out.flush()
        except BrokenPipeError:
            raise PipeClosed from None


class _Console(Console):
    """A rich console that interprets no text: no markup, no emoji, no highlights."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        raise PipeClosed


def line(*parts: str | tuple[str, str]) -> Text:
    """Build one line from cleaned parts."""
    found = Text()
    for part in parts:
        text, style = part if isinstance(part, tuple) else (part, "")
        found.append(clean(text), style)
    return found


def listed(names: Iterable[str], most: int = 12) -> str:
    """List names as `a, b, c`, with the number of further ones."""
    every = list(names)
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more:,} more" if more > 0 else "")


def can_print_anything() -> None:
    """Make printing safe where the terminal lacks a character or a standard stream is closed."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def hush() -> None:
    """Discard buffered output after a closed pipe, so that the process ends silently."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
