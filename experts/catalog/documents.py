"""Reads the documents of a card from files and folders, and says of each file what was not read.

Text files stay as they are; other formats are parsed into blocks of text, in child processes. One unusable file of a
folder never stops its neighbours.
"""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from experts.catalog.files import MAX_FILE, FileNote, Files
from experts.documents.base import Document, UnreadableFile
from experts.documents.encoding import Undecodable, decoded
from experts.documents.formats import KINDS, SUFFIXES, is_text
from experts.documents.markdown import read_markdown
from experts.documents.markup import split_front, unclosed_comment
from experts.documents.parser_pool import CHILDREN, ParsedFiles, ParserPool
from experts.knowledge.languages import LOOKED_AT, language_of
from swarm.errors import InvalidCard

MAX_PARSED_FILE = 100_000_000
"""Bytes of a file that is parsed: its pictures and fonts count, but are not stored."""
MAX_FILES = 10_000

_parsed = ParsedFiles()
"""Files that this process has parsed before."""


@dataclass(frozen=True, slots=True)
class _ReadFile:
    """A file as it is stored, with the notes on it; or without content, and the reason why."""

    content: bytes = b""
    notes: tuple[FileNote, ...] = ()
    problem: UnreadableFile | None = None


class CardDocuments:
    """Reads documents through the files of a card, whose `notes` get the remarks on them."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def read(self, places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Read every document in these files and folders: (path, stored content), each once, ordered by path.

        A named file must be sound. An unusable file of a folder is left out, and so is one with the content of another.
        """
        places = list(places)
        found = sorted(dict.fromkeys(path for place in places for path in self._documents_at(place)))
        if len(found) > MAX_FILES:
            self._files.wrong(
                f"documents: {len(found):,} files", f"at most {MAX_FILES:,} are accepted; join or split them"
            )
        named = {PurePosixPath(place).as_posix() for place in places}
        first: dict[str, str] = {}
        for path, file in zip(found, self._read_all(found), strict=True):
            self._files.notes += file.notes
            if file.problem:
                if path in named:
                    self._files.wrong(f"documents: {path!r} {file.problem.problem}", file.problem.remedy)
                self._leave_out(path, file.problem)
            elif (twin := first.setdefault(sha256(file.content).hexdigest(), path)) != path:
                self._leave_out(path, UnreadableFile(f"has the same text as {twin}", "remove one of them"))
            else:
                yield path, file.content
        if not first:
            reasons = "; ".join(str(note) for note in self._files.notes[:3]) or "it is empty"
            self._files.wrong(
                f"documents: {places[0]!r} has no usable document ({reasons})", f"put {KINDS} files into it"
            )

    def _read_all(self, paths: list[str]) -> Iterator[_ReadFile]:
        with ParserPool(parsed=_parsed) as parsers, ThreadPoolExecutor(CHILDREN) as threads:
            try:
                yield from threads.map(lambda path: self._read(path, parsers), paths)
            finally:
                threads.shutdown(cancel_futures=True)

    def _read(self, path: str, parsers: ParserPool) -> _ReadFile:
        try:
            if is_text(path):
                return _text_file(path, self._files.read("documents", path, MAX_FILE))
            parsed = parsers.parse(path, self._files.read("documents", path, MAX_PARSED_FILE))
            return _ReadFile(parsed.stored, _notes(parsed.document))
        except UnreadableFile as error:
            return _ReadFile(problem=error)
        except InvalidCard:  # replaced by a link since it was found
            return _ReadFile(problem=UnreadableFile("leads out of the card's folder", "copy the file into it"))

    def _documents_at(self, place: str) -> list[str]:
        path = self._files.inside("documents", place)
        if path.is_dir():
            return sorted(self._below(path))
        if not path.is_file():
            self._files.wrong(f"documents: {place!r} is not there", "put it beside this card, or correct the path")
        if path.suffix.lower() not in SUFFIXES:
            self._files.wrong(f"documents: {place!r} is no {KINDS} file", "convert it to one of these")
        return [PurePosixPath(place).as_posix()]

    def _below(self, folder: Path) -> Iterator[str]:
        """Documents below `folder`, without hidden ones. Other files are noted with the reason."""
        for where, folders, files in os.walk(folder, onerror=self._closed):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in sorted((*folders, *files)):
                path = Path(where, name)
                inside = path.relative_to(self._files.folder).as_posix()
                if name.startswith(".") or (name in folders and not path.is_symlink()):
                    continue
                try:
                    self._fit(path, inside)
                except UnreadableFile as error:
                    self._leave_out(inside, error)
                else:
                    yield inside

    def _fit(self, path: Path, inside: str) -> None:
        """Raise UnreadableFile unless this entry of a folder is a document."""
        if path.is_symlink():
            try:
                self._files.inside("documents", inside)
            except InvalidCard as error:
                problem = "is a link that leads out of the card's folder, or to nothing"
                raise UnreadableFile(problem, error.remedy) from None
            if path.is_dir():
                raise UnreadableFile("is a link to a folder, which is not followed", "name that folder in documents")
        if not path.is_file():
            raise UnreadableFile("is no file", "remove it")
        if path.suffix.lower() not in SUFFIXES:
            raise UnreadableFile(f"is no {KINDS} file", "convert it to one of these")

    def _closed(self, error: OSError) -> None:
        """Note a folder that cannot be listed."""
        inside = Path(error.filename).relative_to(self._files.folder).as_posix()
        self._leave_out(inside, UnreadableFile(f"cannot be read ({error.strerror})", "check its permissions"))

    def _leave_out(self, path: str, error: UnreadableFile) -> None:
        self._files.notes.append(FileNote(path, str(error), "left_out"))


def _text_file(path: str, content: bytes) -> _ReadFile:
    """Read a text file as UTF-8. Content that is already clean UTF-8 is stored unchanged."""
    try:
        text, guessed = decoded(content)
    except Undecodable as error:
        raise UnreadableFile(str(error), "save it as UTF-8 text") from None
    if not text.strip():
        raise UnreadableFile("is empty", "write something into it, or remove it")
    document = read_markdown(path, text)
    if not document.blocks:
        problem = "has comments, front matter or directives only"
        raise UnreadableFile(problem, "write something into it, or remove it")
    notes = [FileNote(path, f"{guessed}; save it as UTF-8", "warning")] if guessed else []
    below = split_front(text)[1]
    if line := unclosed_comment(below):
        line += text.count("\n") - below.count("\n")
        problem = f"the comment in line {line} is not closed and hides the rest; close it with -->"
        notes.append(FileNote(path, problem, "warning"))
    clean = text.encode()
    stored = content if content.removeprefix(BOM_UTF8) == clean else clean
    return _ReadFile(stored, (*notes, *_notes(document)))


def _notes(document: Document) -> tuple[FileNote, ...]:
    """What was not read of a document, and doubts about the rest."""
    notes = [FileNote(document.name, f"partly read: {what}", "partly_read") for what in document.partly]
    notes += [FileNote(document.name, what, "warning") for what in document.warnings]
    if not language_of("\n\n".join(block.text for block in document.blocks[:LOOKED_AT])):
        problem = "is in a language whose words are not stemmed: questions match only its exact word forms"
        notes.append(FileNote(document.name, problem, "warning"))
    return tuple(notes)
