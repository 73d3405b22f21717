"""Loads a catalog from a folder of cards. Its version is the hash of all cards and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from experts.catalog.card_reader import CardReader
from experts.catalog.files import FileNote
from experts.catalog.front_matter import has_front_matter
from swarm.errors import BadInput, EmptyCatalog, InvalidCard, TooLarge
from swarm.types.card import Card, Catalog

MAX_BLOBS = 64_000_000
"""Maximum bytes of all documents and heads of a catalog."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A catalog, the files of its cards by sha256, and the notes on document files by card."""

    catalog: Catalog
    blobs: dict[str, bytes] = field(repr=False)
    notes: dict[str, tuple[FileNote, ...]] = field(default_factory=dict)


def read_folder(folder: Path) -> Loaded:
    """Load every `*.md` with front matter in `folder`. Raises the first problem."""
    loaded, problems = inspect_folder(folder)
    if problems:
        raise problems[0]
    return loaded


def check_folder(folder: Path) -> list[BadInput]:
    """All problems of the catalog in `folder`, card by card."""
    return inspect_folder(folder)[1]


def with_implementations(loaded: Loaded, cards: Mapping[str, Card]) -> Loaded:
    """Add the cards of experts in plain Python. Raises BadInput if a name is taken or a fallback is unknown."""
    if taken := sorted(cards.keys() & loaded.catalog.cards.keys()):
        raise BadInput("catalog", f"two experts are named {taken[0]!r}", "rename the card or the Python expert")
    together = {**loaded.catalog.cards, **cards}
    if problems := _unknown_fallbacks(together, {}):
        raise problems[0]
    return replace(loaded, catalog=catalog_of(together))


def catalog_of(cards: Mapping[str, Card]) -> Catalog:
    """Make a catalog of these cards. Equal cards give an equal version, whatever their order."""
    ordered = {name: cards[name] for name in sorted(cards)}
    return Catalog(version=_digest({name: card.version for name, card in ordered.items()}), cards=ordered)


def versioned(card: Card) -> Card:
    """Set the version of `card`: the hash of its other fields.

    Fields that were added later are hashed only where they are set, so that older cards keep their version.
    """
    given = {
        "examples": card.examples,
        "fallback_models": card.fallback_models,
        "sampling": card.sampling.given,
        "uncited": card.uncited != "keep",
        "partial": card.partial != "drop",
        "isolate": card.isolate is not None,
        "knowledge": card.knowledge is not None,
        "abstain": card.abstain is not None,
    }
    newer = {name for name, own in given.items() if not own}
    return card.model_copy(update={"version": _digest(card.model_dump(mode="json", exclude={"version"} | newer))})


def inspect_folder(folder: Path) -> tuple[Loaded, list[BadInput]]:
    """Load the sound cards of `folder`, and list all problems."""
    problems: list[BadInput] = []
    blobs: dict[str, bytes] = {}
    cards: dict[str, Card] = {}
    files: dict[str, str] = {}
    notes: dict[str, tuple[FileNote, ...]] = {}
    for path in _card_files(folder):
        reader = CardReader(path, folder)
        problems += reader.problems
        if reader.card is not None:
            problems += _twin(reader, files)
            cards[reader.card.name] = versioned(reader.card)
            files.setdefault(reader.card.name, reader.path)
            blobs |= reader.blobs
            notes[reader.card.name] = tuple(reader.files.notes)
    if not cards and not problems:
        problems.append(EmptyCatalog(f"in {folder}"))
    if not problems:
        problems += _unknown_fallbacks(cards, files)
    if (size := sum(map(len, blobs.values()))) > MAX_BLOBS:
        problems.append(TooLarge("documents of the catalog", size, MAX_BLOBS, remedy="leave some out"))
    return Loaded(catalog_of(cards), blobs, {name: noted for name, noted in notes.items() if noted}), problems


def _card_files(folder: Path) -> list[Path]:
    """The files in `folder` with front matter, which excludes a README."""
    if not folder.is_dir():
        raise BadInput("catalog", f"{folder} is no folder", "name the folder that holds your cards (*.md)")
    try:
        found = sorted(path for path in folder.glob("*.md") if not path.name.startswith(".") and path.is_file())
        return [path for path in found if _begins_as_card(path)]
    except OSError as error:
        raise BadInput("catalog", f"{folder} cannot be read ({error.strerror})", "check its permissions") from None


def _begins_as_card(path: Path) -> bool:
    """Whether a file begins with front matter; True also if it cannot be read, so that the problem is reported."""
    try:
        with path.open("rb") as file:
            return has_front_matter(file.read(16).decode("utf-8", "replace"))
    except OSError:
        return True


def _twin(reader: CardReader, files: Mapping[str, str]) -> list[InvalidCard]:
    name = reader.card.name if reader.card else ""
    if name not in files:
        return []
    return [InvalidCard(reader.path, f"name {name!r} is already that of {files[name]}", "rename one of them")]


def _unknown_fallbacks(cards: Mapping[str, Card], files: Mapping[str, str]) -> list[InvalidCard]:
    known = ", ".join(sorted(cards))
    return [
        InvalidCard(
            files.get(name, name), f"fallback names {other!r}, which is not in this catalog", f"known are {known}"
        )
        for name, card in cards.items()
        for other in card.fallback
        if other not in cards
    ]


def _digest(value: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:16]
