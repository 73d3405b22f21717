"""Indexes the documents of a catalog's cards before it is published, so that no worker has to.

Index files lie in the cache folder, one folder for each expert. A catalog that was indexed before is not indexed again,
and after a change of a document only its new passages are encoded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experts.catalog.loader import Loaded, catalog_of, versioned
from experts.documents.storage import load
from experts.kinds import KINDS
from experts.knowledge.analysis import IndexedDocument
from experts.knowledge.builder import build
from experts.knowledge.delivery import pieces_of
from experts.knowledge.passages import passages
from swarm.encoder.base import Encoder
from swarm.encoder.cache import CachedEncoder, VectorCache
from swarm.encoder.inventory import runtime_is_installed
from swarm.encoder.models import IncompleteModel
from swarm.encoder.onnx import open_encoder
from swarm.errors import MissingDependency, TooLarge, UnusableInput
from swarm.runtime.cache_folder import cache_folder
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Blob, Card

BUILT = "indexes"
"""The cache folder of index files that were built here."""
KEPT = 3
"""Index files that are kept of one expert."""
MAX_INDEXES = 400_000_000
"""Maximum bytes of the index files of a catalog: about 100,000 passages."""

MAX_SPLIT = 32_000_000
"""Bytes of documents whose passages a process caches."""

IndexProgress = Callable[[str, int, int], None]
"""Is told the expert whose documents are encoded, how many passages of it are done, and of how many."""


async def with_indexes(loaded: Loaded, progress: IndexProgress | None = None) -> Loaded:
    """Index the documents of each card that has some, and add the index to the card and its pieces to the files.

    Without an encoder the index has words alone. Raises TooLarge, UnusableInput if the cache cannot be written, and
    what the encoder raises.
    """
    wanted = [card for card in loaded.catalog.cards.values() if has_documents(card)]
    if not wanted:
        return loaded
    vectors = VectorCache(await in_thread(cache_folder, "vectors") / "vectors.sqlite")
    try:
        return await _with_indexes(loaded, wanted, installed_encoder(vectors), progress)
    finally:
        await in_thread(vectors.close)


async def _with_indexes(
    loaded: Loaded, wanted: Sequence[Card], encoder: Encoder | None, progress: IndexProgress | None
) -> Loaded:
    cards, blobs = dict(loaded.catalog.cards), dict(loaded.blobs)
    size = 0
    for card in wanted:
        try:
            indexed, pieces = await _indexed(card, loaded.blobs, encoder, progress)
        except OSError as error:
            problem = f"the index of {card.name} cannot be written ({error.strerror})"
            raise UnusableInput(f"{problem}; set SWARM_CACHE to a folder with space") from None
        cards[card.name], blobs = indexed, blobs | pieces
        size += sum(map(len, pieces.values()))
        if size > MAX_INDEXES:
            raise TooLarge("indexes of the catalog", size, MAX_INDEXES, remedy="leave documents out")
    return replace(loaded, catalog=catalog_of(cards), blobs=blobs)


def has_documents(card: Card) -> bool:
    """Whether the files of a card are documents that are searched."""
    files = KINDS[card.kind].files
    return card.implementation is None and bool(card.blobs) and files is not None and files.documents


def installed_encoder(vectors: VectorCache) -> Encoder | None:
    """The default encoder with a cache of vectors; None if the extra is not installed.

    Raises IncompleteModel for half of an installation.
    """
    if not runtime_is_installed():
        return None
    try:
        return CachedEncoder(open_encoder(), vectors)
    except IncompleteModel:
        raise
    except MissingDependency:
        return None


def indexed_documents(card: Card, contents: Mapping[str, bytes]) -> list[IndexedDocument]:
    """The documents of a card with their passages. Raises UnusableInput for one that cannot be read."""
    return [_split.of(blob, contents[blob.sha256]) for blob in card.blobs]


class _SplitDocuments:
    """Caches documents with their passages, since most of a folder's documents are as they were at its last change."""

    def __init__(self) -> None:
        self._held: OrderedDict[Blob, IndexedDocument] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def of(self, blob: Blob, content: bytes) -> IndexedDocument:
        with self._lock:
            if (found := self._held.get(blob)) is not None:
                self._held.move_to_end(blob)
                return found
        document = load(blob.path, content)
        split = IndexedDocument(document.name, passages(document), document.title, document.metadata)
        with self._lock:
            self._size += 0 if blob in self._held else blob.size
            self._held[blob] = split
            while self._size > MAX_SPLIT:
                self._size -= self._held.popitem(last=False)[0].size
        return split


_split = _SplitDocuments()


async def _indexed(
    card: Card, contents: Mapping[str, bytes], encoder: Encoder | None, progress: IndexProgress | None
) -> tuple[Card, dict[str, bytes]]:
    """A card with its index, and the pieces of the index by sha256."""
    folder = await in_thread(cache_folder, f"{BUILT}/{card.name}")
    documents = await in_thread(indexed_documents, card, contents)
    path = await build(
        documents,
        folder,
        encoder=encoder,
        former=await in_thread(_newest, folder),
        progress=(lambda done, total: progress(card.name, done, total)) if progress else None,
    )
    knowledge, pieces = await in_thread(pieces_of, path, path.stem, encoder.identity if encoder else "")
    await in_thread(_keep_newest, path)
    return versioned(card.model_copy(update={"knowledge": knowledge})), pieces


def _newest(folder: Path) -> Path | None:
    """The index file that was made or used last, or None."""
    return max(folder.glob("*.sqlite"), key=_used, default=None)


def _keep_newest(path: Path) -> None:
    """Mark `path` as used now, and remove the files beside it that were used longest ago."""
    path.touch()
    for other in sorted(path.parent.glob("*.sqlite"), key=_used, reverse=True)[KEPT:]:
        other.unlink(missing_ok=True)


def _used(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another process has just removed it
        return 0
