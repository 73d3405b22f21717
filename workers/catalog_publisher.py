"""Publish a folder of cards as the current catalog, once or whenever the folder changes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from experts.catalog.indexing import with_indexes
from experts.catalog.loader import Loaded, read_folder, with_implementations
from experts.python_experts import Implementation, cards
from swarm import logging as events
from swarm.broker.catalog_store import CatalogStore
from swarm.errors import BrokerError, SwarmError
from swarm.runtime.thread_pool import in_thread

LOOK = 0.25
"""Seconds between looks at a watched folder, at least."""
SHARE = 0.05
"""Maximum share of the time that is spent looking at a folder that does not change."""
AWAY = 1.0
"""Seconds until a publication is tried again that Redis did not take."""
EVERY = 5.0
"""Seconds between log lines while documents are encoded."""
MAX_FILES = 10
"""Files that one log line names, at most."""

Stamp = frozenset[tuple[str, int, int]]

_log = events.get_logger("catalog")


def read(folder: Path, implementations: Mapping[str, Implementation]) -> Loaded:
    """Read the folder's catalog and add the experts in plain Python. Raises what `read_folder` raises."""
    return with_implementations(read_folder(folder), cards(implementations))


async def publish(store: CatalogStore, folder: Path, implementations: Mapping[str, Implementation]) -> Loaded:
    """Index the folder's documents and make it the current catalog. The same content again changes nothing."""
    loaded = await with_indexes(await in_thread(read, folder, implementations), _Progress().show)
    former = await store.publish(loaded.catalog, loaded.blobs)
    version, names = loaded.catalog.version, sorted(loaded.catalog.cards)
    if former != version:
        _log.info(events.CATALOG, version=version, former=former, experts=names)
        _log_left_out(loaded)
    return loaded


class _Progress:
    """Logs now and then how far the encoding of documents is."""

    def __init__(self) -> None:
        self._logged = time.monotonic()

    def show(self, expert: str, done: int, total: int) -> None:
        if time.monotonic() - self._logged >= EVERY:
            self._logged = time.monotonic()
            _log.info(events.INDEXING, expert=expert, encoded=done, passages=total)


def _log_left_out(loaded: Loaded) -> None:
    """Log the files in documents' folders that could not be read into any expert."""
    for name, notes in loaded.notes.items():
        if left := [str(note) for note in notes if note.left_out]:
            read, named = len(loaded.catalog.cards[name].blobs), left[:MAX_FILES]
            _log.warning(events.LEFT_OUT, expert=name, read=read, left_out=len(left), files=named)


async def watch(store: CatalogStore, folder: Path, implementations: Mapping[str, Implementation], seen: Stamp) -> None:
    """Publish again whenever a file of the folder changes. A bad catalog is logged, and the last good one stays.

    A change is published once two looks in a row find the same folder: an editor or a copy is then done. `seen` is the
    stamp of the folder from before it was last published, so that no change in between is missed.
    """
    now, pause = seen, LOOK
    while True:
        await asyncio.sleep(pause)
        before, (now, seconds) = now, await in_thread(_look, folder)
        pause = max(LOOK, seconds / SHARE) if now == before else LOOK
        if now == seen or now != before:
            continue
        try:
            await publish(store, folder, implementations)
        except BrokerError as error:
            pause = AWAY
            _log.warning(events.REDIS_AWAY, error=str(error))
        except SwarmError as error:
            seen = now
            _log.error(events.REFUSED_CARD, folder=folder.name, error=str(error))
        else:
            seen = now


def stamp(folder: Path) -> Stamp:
    """Fingerprint a folder: path, time of change and size of each file and folder below it."""
    found: set[tuple[str, int, int]] = set()
    folders = [str(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    facts = entry.stat()
                    found.add((entry.path, facts.st_mtime_ns, facts.st_size))
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return frozenset(found)


def _look(folder: Path) -> tuple[Stamp, float]:
    """The stamp of a folder, and the seconds that it took."""
    begun = time.monotonic()
    return stamp(folder), time.monotonic() - begun
