"""Reads the files that a card names: inside its folder only, with a size limit, and checked for their format."""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NoReturn

from experts.catalog.encoding import Undecodable, decoded
from experts.rag.language import uncut
from experts.rag.markup import split_front, unclosed_comment, visible
from swarm.errors import InvalidCard
from swarm.types.card import Blob

MAX_FILE = 10_000_000
SUFFIXES = (".md", ".txt")
MAX_FILES = 5_000

_KINDS = " or ".join(SUFFIXES)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class FileNote:
    """A note on a file in a folder of documents, for the catalog's owner."""

    path: str
    text: str
    left_out: bool

    def __str__(self) -> str:
        return f"{self.path} {self.text}" if self.left_out else f"{self.path}: {self.text}"


class Unread(Exception):
    """A file cannot be used, with the problem and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


class Files:
    """Reads files of `folder` for the card `path`. Every problem is an InvalidCard of that card."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.path = folder, path
        self.root = folder.resolve()
        self.notes: list[FileNote] = []

    def text(self, path: str, limit: int) -> str:
        """Read a text file. It must be UTF-8 without control characters."""
        return self._decoded(path, self._sound("file", path, limit))

    def content(self, field: str, path: str, otherwise: str) -> bytes:
        """Read the file that `field` names; `otherwise` is the remedy if it does not exist."""
        place = self._inside(field, path)
        if not place.is_file():
            self._wrong(f"{field}: {path!r} is not there", otherwise)
        return self._sound(field, path, MAX_FILE)

    def documents(self, places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Read every document in these files and folders: (path, UTF-8 content), each once, ordered by path.

        A named file must be sound. An unusable file of a folder is left out, and `notes` has the reason.
        """
        places = list(places)
        found = dict.fromkeys(path for place in places for path in self._documents_at(place))
        if len(found) > MAX_FILES:
            self._wrong(f"documents: {len(found):,} files", f"at most {MAX_FILES:,} are accepted; join or split them")
        named = {PurePosixPath(place).as_posix() for place in places}
        read = 0
        for path in sorted(found):
            try:
                content = self._document(path)
            except Unread as error:
                if path in named:
                    self._wrong(f"documents: {path!r} {error.problem}", error.remedy)
                self._leave_out(path, error.problem, error.remedy)
            else:
                read += 1
                yield path, content
        if not read:
            reasons = "; ".join(str(note) for note in self.notes[:3]) or "it is empty"
            self._wrong(f"documents: {places[0]!r} has no usable document ({reasons})", f"put {_KINDS} files into it")

    def _document(self, path: str) -> bytes:
        """Read a document as UTF-8. Content that is already clean UTF-8 is returned unchanged."""
        content = self._read("documents", path, MAX_FILE)
        try:
            text, guessed = decoded(content)
        except Undecodable as error:
            raise Unread(str(error), "save it as UTF-8 text") from None
        if not text.strip():
            raise Unread("is empty", "write something into it, or remove it")
        below = split_front(text)[1]
        if not (seen := visible(below)).strip():
            raise Unread("has comments, front matter or directives only", "write something into it, or remove it")
        if guessed:
            self.notes.append(FileNote(path, f"{guessed}; save it as UTF-8", left_out=False))
        if line := unclosed_comment(below):
            line += text.count("\n") - below.count("\n")
            problem = f"the comment in line {line} is not closed and hides the rest; close it with -->"
            self.notes.append(FileNote(path, problem, left_out=False))
        if language := uncut(seen):
            problem = f"reads like {language}: questions match only its exact word forms"
            self.notes.append(FileNote(path, problem, left_out=False))
        clean = text.encode()
        return content if content.removeprefix(BOM_UTF8) == clean else clean

    @staticmethod
    def blob(path: str, content: bytes) -> Blob:
        return Blob(path=PurePosixPath(path).as_posix(), sha256=sha256(content).hexdigest(), size=len(content))

    def _documents_at(self, place: str) -> list[str]:
        path = self._inside("documents", place)
        if path.is_dir():
            return sorted(self._below(path))
        if not path.is_file():
            self._wrong(f"documents: {place!r} is not there", "put it beside this card, or correct the path")
        if path.suffix.lower() not in SUFFIXES:
            self._wrong(f"documents: {place!r} is no {_KINDS} file", "convert it to one of these")
        return [PurePosixPath(place).as_posix()]

    def _below(self, folder: Path) -> Iterator[str]:
        """Documents below `folder`, without hidden ones. Other files are noted with the reason."""
        for where, folders, files in os.walk(folder, onerror=self._closed):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in sorted((*folders, *files)):
                path = Path(where, name)
                inside = path.relative_to(self.folder).as_posix()
                if name.startswith(".") or (name in folders and not path.is_symlink()):
                    continue
                try:
                    self._fit(path, inside)
                except Unread as error:
                    self._leave_out(inside, error.problem, error.remedy)
                else:
                    yield inside

    def _fit(self, path: Path, inside: str) -> None:
        """Raise Unread unless this entry of a folder is a document."""
        if path.is_symlink():
            try:
                self._inside("documents", inside)
            except InvalidCard as error:
                raise Unread("is a link that leads out of the card's folder, or to nothing", error.remedy) from None
            if path.is_dir():
                raise Unread("is a link to a folder, which is not followed", "name that folder in documents")
        if not path.is_file():
            raise Unread("is no file", "remove it")
        if path.suffix.lower() not in SUFFIXES:
            raise Unread(f"is no {_KINDS} file", "convert it to one of these")

    def _closed(self, error: OSError) -> None:
        """Note a folder that cannot be listed."""
        inside = Path(error.filename).relative_to(self.folder).as_posix()
        self._leave_out(inside, f"cannot be read ({error.strerror})", "check its permissions")

    def _leave_out(self, path: str, problem: str, remedy: str) -> None:
        self.notes.append(FileNote(path, f"{problem}; {remedy}", left_out=True))

    def _inside(self, field: str, path: str) -> Path:
        """Resolve `path`, which must lie inside the folder after following links."""
        remedy = "use a path below the card's folder, without .. and without links that leave it"
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
            self._wrong(f"{field}: {path[:200]!r} leaves the card's folder", remedy)
        place = self.folder / pure
        try:
            resolved = place.resolve()
        except (OSError, RuntimeError, ValueError):
            self._wrong(f"{field}: {path[:200]!r} cannot be followed", remedy)
        if not resolved.is_relative_to(self.root):
            self._wrong(f"{field}: {path[:200]!r} leads out of the card's folder", remedy)
        return place

    def _read(self, field: str, path: str, limit: int) -> bytes:
        place = self._inside(field, path)
        try:
            with place.open("rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise Unread(f"cannot be read ({error.strerror})", "check the file and its permissions") from None
        if len(content) > limit:
            raise Unread(f"has more than {limit:,} bytes", "split or shorten it")
        return content

    def _sound(self, field: str, path: str, limit: int) -> bytes:
        try:
            return self._read(field, path, limit)
        except Unread as error:
            self._wrong(f"{field}: {path!r} {error.problem}", error.remedy)

    def _decoded(self, path: str, content: bytes) -> str:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._wrong(f"{path!r} is not UTF-8 (line {line})", "save it as UTF-8")
        if found := _CONTROL.search(text):
            line = text.count("\n", 0, found.start()) + 1
            self._wrong(f"{path!r} has the control character U+{ord(found[0]):04X} in line {line}", "remove it")
        return text

    def _wrong(self, problem: str, remedy: str) -> NoReturn:
        raise InvalidCard(self.path, problem, remedy)
