"""Delivers an index file from the publisher to the workers: in pieces by their hash, into a local cache folder."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from uuid import uuid4

from experts.knowledge.sqlite_store import SqliteStore
from swarm.errors import UnusableInput
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Blob, KnowledgeFile

PIECE = 4_000_000
"""Bytes of a piece: one value in Redis."""
MAX_CACHE = 2_000_000_000
"""Bytes of index files that a cache folder keeps; of more, those that were opened last."""

LoadBlob = Callable[[Blob], Awaitable[bytes]]


def pieces_of(path: Path, version: str, encoder: str) -> tuple[KnowledgeFile, dict[str, bytes]]:
    """Split an index file: its description for a card, and the content of its pieces by sha256. Raises OSError."""
    contents: dict[str, bytes] = {}
    pieces: list[Blob] = []
    whole = sha256()
    for number, content in enumerate(_parts(path)):
        digest = sha256(content).hexdigest()
        whole.update(content)
        contents[digest] = content
        pieces.append(Blob(path=f"{path.name}/{number}", sha256=digest, size=len(content)))
    size = sum(piece.size for piece in pieces)
    described = KnowledgeFile(
        version=version, encoder=encoder, sha256=whole.hexdigest(), size=size, pieces=tuple(pieces)
    )
    return described, contents


async def open_store(knowledge: KnowledgeFile, load_blob: LoadBlob, folder: Path) -> SqliteStore:
    """Open an index from `folder`; fetch it first if it is not there, and once more if it is damaged.

    Raises UnusableInput, and what `load_blob` raises.
    """
    path = await fetched(knowledge, load_blob, folder)
    try:
        return await in_thread(SqliteStore, path)
    except UnusableInput:
        await in_thread(path.unlink, missing_ok=True)
        return await in_thread(SqliteStore, await fetched(knowledge, load_blob, folder))


async def fetched(knowledge: KnowledgeFile, load_blob: LoadBlob, folder: Path, most: int = MAX_CACHE) -> Path:
    """The index file in `folder`, put together from its pieces if it is not there. Workers of one folder share it.

    It appears whole and checked, or not at all. Raises UnusableInput if the pieces do not make the file, or if it
    cannot be written.
    """
    path = folder / f"{knowledge.sha256}.sqlite"
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    if await in_thread(_is_there, path, knowledge.size):
        return path
    try:
        await in_thread(folder.mkdir, parents=True, exist_ok=True)
        for piece in knowledge.pieces:
            content = await load_blob(piece)
            await in_thread(_append, unfinished, content)
        await in_thread(_finish, unfinished, path, knowledge.sha256)
    except OSError as error:
        raise UnusableInput(f"the index cannot be written to {folder} ({error.strerror}); free some space") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    await in_thread(trim, folder, most)
    return path


def trim(folder: Path, most: int) -> None:
    """Remove the files that were used longest ago, until at most `most` bytes are left. The newest one stays.

    A process that has a removed file open can go on reading it.
    """
    files: list[tuple[int, int, Path]] = []
    for path in folder.glob("*.sqlite"):
        with suppress(OSError):
            about = path.stat()
            files.append((about.st_mtime_ns, about.st_size, path))
    kept = 0
    for number, (_, size, path) in enumerate(sorted(files, reverse=True)):
        kept += size
        if number and kept > most:
            with suppress(OSError):
                path.unlink()


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while content := file.read(PIECE):
            yield content


def _is_there(path: Path, size: int) -> bool:
    """Whether the file is there with its size; if so, mark it as used now."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except OSError:
        return False
    return True


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def _finish(unfinished: Path, path: Path, digest: str) -> None:
    with unfinished.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if found != digest:
        raise UnusableInput(f"the index {path.name} in Redis is damaged; publish the catalog again")
    unfinished.replace(path)
