"""Adds files to the documents of a card, and removes them. All paths stay inside the folder of the card's documents."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from uuid import uuid4

from experts.catalog.card_reader import CardReader
from experts.catalog.front_matter import has_front_matter, parse, split
from experts.documents.formats import SUFFIXES
from experts.kinds import KINDS
from swarm.errors import BadInput, UnknownExpert


class DocumentFolder:
    """The documents of the card `expert` in the catalog `folder`.

    Raises UnknownExpert, the card's own problem, and BadInput if its kind has no documents.
    """

    def __init__(self, folder: Path, expert: str) -> None:
        self.folder = folder
        readers = [CardReader(path, folder) for path in sorted(folder.glob("*.md")) if _is_card(path)]
        named = {reader.card.name if reader.card else Path(reader.path).stem: reader for reader in readers}
        if expert not in named:
            raise UnknownExpert(expert, named)
        reader = named[expert]
        if reader.card is None:
            raise reader.problems[0]
        files = KINDS[reader.card.kind].files
        if files is None or not files.documents:
            raise BadInput(
                "expert", f"{expert} is of the kind {reader.card.kind}, which has no documents", "use a rag card"
            )
        front = parse(split((folder / reader.path).read_text(encoding="utf-8"), reader.path)[0], reader.path)
        given = front.get("documents")
        self.places = [PurePosixPath(place) for place in ([given] if isinstance(given, str) else given or [])]
        self.names = tuple(blob.path for blob in reader.card.blobs)

    def add(self, source: Path, into: str = "", *, replace: bool = False) -> str:
        """Copy a file into the first folder of documents, or into `into` below it; return its path in the catalog.

        The file appears whole. Raises BadInput if it cannot be a document, is there already, or leads out.
        """
        root = next((place for place in self.places if (self.folder / place).is_dir()), None)
        if root is None:
            names = ", ".join(map(str, self.places))
            raise BadInput("documents", f"the card names single files ({names})", "let it name a folder")
        if not source.is_file():
            raise BadInput("file", f"{source} is no file", "name a file")
        if source.suffix.lower() not in SUFFIXES or source.name.startswith("."):
            raise BadInput("file", f"{source.name} cannot be a document", f"known are {', '.join(SUFFIXES)}")
        target = self._inside(root, root / into / source.name)
        if target.exists() and not replace:
            where = target.relative_to(self.folder).as_posix()
            raise BadInput("file", f"{where} is there already", "add --replace, or rename it")
        unfinished = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, unfinished)
            unfinished.replace(target)
        except OSError as error:
            raise BadInput(
                "file", f"{source.name} cannot be copied ({error.strerror})", "check its permissions"
            ) from None
        finally:
            unfinished.unlink(missing_ok=True)
        return target.relative_to(self.folder).as_posix()

    def find(self, name: str) -> Path:
        """The file of a document, by its path in the catalog or by the end of it. Raises BadInput."""
        wanted = PurePosixPath(name).parts
        found = [each for each in self._files() if wanted and each.parts[-len(wanted) :] == wanted]
        if len(found) != 1:
            problem = f"{name!r} is {'more than one document' if found else 'no document'} of this expert"
            raise BadInput("document", problem, "see swarm docs list")
        return self._inside(found[0].parent, found[0])

    def remove(self, name: str) -> str:
        """Delete the file of a document; return its path in the catalog. Raises BadInput."""
        path = self.find(name)
        if PurePosixPath(path.relative_to(self.folder).as_posix()) in self.places:
            raise BadInput("document", f"{name} is named by the card itself", "remove it from `documents` of the card")
        try:
            path.unlink()
        except OSError as error:
            raise BadInput(
                "document", f"{name} cannot be removed ({error.strerror})", "check its permissions"
            ) from None
        return path.relative_to(self.folder).as_posix()

    def _files(self) -> Sequence[PurePosixPath]:
        """Every file of the documents, also those that could not be read."""
        found = {PurePosixPath(name) for name in self.names}
        for place in self.places:
            for path in (self.folder / place).rglob("*"):
                if path.is_file() and not path.name.startswith("."):
                    found.add(PurePosixPath(path.relative_to(self.folder).as_posix()))
        return sorted(found)

    def _inside(self, root: PurePosixPath, path: PurePosixPath) -> Path:
        """The place of `path`, which must lie in `root` after following links. Raises BadInput."""
        place = self.folder / path
        inside = (self.folder / root).resolve()
        if (
            ".." in path.parts
            or not place.resolve().is_relative_to(inside)
            or not inside.is_relative_to(self.folder.resolve())
        ):
            raise BadInput("path", f"{path} leaves {root}", "use a path below the documents' folder, without ..")
        return place


def _is_card(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    with path.open("rb") as file:
        return has_front_matter(file.read(16).decode("utf-8", "replace"))
