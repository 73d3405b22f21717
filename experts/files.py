"""The files a card names: found inside its folder only, read with a cap, checked to be what they should be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NoReturn

from swarm.errors import InvalidCard
from swarm.models import Blob

MAX_FILE = 10_000_000
SUFFIXES = (".md", ".txt")
MAX_FILES = 5_000

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


class Files:
    """What is in `folder`, read on behalf of the card `path`. Every problem is an InvalidCard of that card."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.path = folder, path
        self.root = folder.resolve()

    def text(self, path: str, limit: int) -> str:
        """A text file: UTF-8 without control characters."""
        return self._decoded(path, self._read("file", path, limit))

    def content(self, field: str, path: str) -> bytes:
        """The content of the file that `field` names."""
        place = self._inside(field, path)
        if not place.is_file():
            self._wrong(f"{field}: {path!r} is not there", "put the file beside this card, or mend the path")
        return self._read(field, path, MAX_FILE)

    def documents(self, places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Path and content of every document in these files and folders, each once, in order of path."""
        found = dict.fromkeys(path for place in places for path in self._documents_at(place))
        if len(found) > MAX_FILES:
            self._wrong(f"documents: {len(found):,} files", f"at most {MAX_FILES:,} are accepted; join or split them")
        for path in sorted(found):
            content = self._read("documents", path, MAX_FILE)
            if not self._decoded(path, content).strip():
                self._wrong(f"documents: {path!r} is empty", "write something into it, or remove it")
            yield path, content

    @staticmethod
    def blob(path: str, content: bytes) -> Blob:
        return Blob(path=PurePosixPath(path).as_posix(), sha256=sha256(content).hexdigest(), size=len(content))

    def _documents_at(self, place: str) -> list[str]:
        path = self._inside("documents", place)
        if path.is_dir():
            found = sorted(self._below(path))
            if not found:
                self._wrong(f"documents: {place!r} holds no document", f"put {' or '.join(SUFFIXES)} files into it")
            return found
        if not path.is_file():
            self._wrong(f"documents: {place!r} is not there", "put it beside this card, or mend the path")
        if path.suffix.lower() not in SUFFIXES:
            self._wrong(f"documents: {place!r} is no {' or '.join(SUFFIXES)} file", "convert it to one of these")
        return [PurePosixPath(place).as_posix()]

    def _below(self, folder: Path) -> Iterator[str]:
        """Documents below `folder`, hidden ones aside. A link that leaves the catalog is an error, not a gap."""
        for where, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in (*folders, *files):
                path = Path(where, name)
                inside = path.relative_to(self.folder).as_posix()
                if path.is_symlink():
                    self._inside("documents", inside)
                if name in files and not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                    yield inside

    def _inside(self, field: str, path: str) -> Path:
        """Where `path` is, if that is inside the folder, links followed."""
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
            self._wrong(f"{field}: {path!r} cannot be read ({error.strerror})", "check the file and its permissions")
        if len(content) > limit:
            self._wrong(f"{field}: {path!r} has more than {limit:,} bytes", "split or shorten it")
        return content

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
