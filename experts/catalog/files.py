"""Reads the files that a card names: inside its folder only, with a size limit, and checked for their format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Literal, NoReturn

from experts.documents.base import UnreadableFile
from experts.documents.stable_read import read_whole
from swarm.errors import InvalidCard
from swarm.types.card import Blob

MAX_FILE = 10_000_000

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class FileNote:
    """A note on a file in a folder of documents, for the catalog's owner."""

    path: str
    text: str
    kind: Literal["left_out", "partly_read", "warning"]

    @property
    def left_out(self) -> bool:
        return self.kind == "left_out"

    def __str__(self) -> str:
        return f"{self.path} {self.text}" if self.left_out else f"{self.path}: {self.text}"


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
        place = self.inside(field, path)
        if not place.is_file():
            self.wrong(f"{field}: {path!r} is not there", otherwise)
        return self._sound(field, path, MAX_FILE)

    @staticmethod
    def blob(path: str, content: bytes) -> Blob:
        return Blob(path=PurePosixPath(path).as_posix(), sha256=sha256(content).hexdigest(), size=len(content))

    def inside(self, field: str, path: str) -> Path:
        """Resolve `path`, which must lie inside the folder after following links."""
        remedy = "use a path below the card's folder, without .. and without links that leave it"
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
            self.wrong(f"{field}: {path[:200]!r} leaves the card's folder", remedy)
        place = self.folder / pure
        try:
            resolved = place.resolve()
        except (OSError, RuntimeError, ValueError):
            self.wrong(f"{field}: {path[:200]!r} cannot be followed", remedy)
        if not resolved.is_relative_to(self.root):
            self.wrong(f"{field}: {path[:200]!r} leads out of the card's folder", remedy)
        return place

    def read(self, field: str, path: str, limit: int) -> bytes:
        """Read a file whole. Raises UnreadableFile."""
        return read_whole(self.inside(field, path), limit)

    def _sound(self, field: str, path: str, limit: int) -> bytes:
        try:
            return self.read(field, path, limit)
        except UnreadableFile as error:
            self.wrong(f"{field}: {path!r} {error.problem}", error.remedy)

    def _decoded(self, path: str, content: bytes) -> str:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.wrong(f"{path!r} is not UTF-8 (line {line})", "save it as UTF-8")
        if found := _CONTROL.search(text):
            line = text.count("\n", 0, found.start()) + 1
            self.wrong(f"{path!r} has the control character U+{ord(found[0]):04X} in line {line}", "remove it")
        return text

    def wrong(self, problem: str, remedy: str) -> NoReturn:
        raise InvalidCard(self.path, problem, remedy)
