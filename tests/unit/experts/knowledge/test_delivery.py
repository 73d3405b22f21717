"""Index files travel in pieces, and lie whole and checked in a folder that workers share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from experts.knowledge import delivery
from experts.knowledge.analysis import IndexedDocument
from experts.knowledge.builder import build
from experts.knowledge.delivery import fetched, open_store, pieces_of, trim
from experts.knowledge.passages import Passage
from swarm.errors import BrokerError, UnusableInput
from swarm.types.card import Blob, KnowledgeFile


class Blobs:
    """Blobs by hash, as the catalog store has them; it counts what is asked of it."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents, self.asked = dict(contents), 0

    async def load(self, blob: Blob) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if blob.sha256 not in self.contents:
            raise BrokerError(f"{blob.path} is no longer in Redis")
        return self.contents[blob.sha256]


@pytest.fixture
async def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[KnowledgeFile, Blobs]:
    monkeypatch.setattr(delivery, "PIECE", 4_096)
    document = IndexedDocument("a.md", [Passage("a.md", "", f"Sentence number {n}.") for n in range(100)])
    path = await build([document], tmp_path / "built")
    described, contents = pieces_of(path, path.stem, "")
    assert described.size == path.stat().st_size
    assert len(described.pieces) > 3
    return described, Blobs(contents)


async def test_a_fetched_index_is_the_built_one_and_is_fetched_once(
    published: tuple[KnowledgeFile, Blobs], tmp_path: Path
) -> None:
    described, blobs = published
    with closing(await open_store(described, blobs.load, tmp_path)) as store:
        assert (store.version, store.size) == (described.version, 100)
    asked = blobs.asked
    with closing(await open_store(described, blobs.load, tmp_path)):
        pass

    assert blobs.asked == asked == len(described.pieces)
    assert [path.name for path in tmp_path.glob("*.sqlite")] == [f"{described.sha256}.sqlite"]


async def test_many_workers_may_fetch_one_index_at_once(published: tuple[KnowledgeFile, Blobs], tmp_path: Path) -> None:
    described, blobs = published
    paths = await asyncio.gather(*(fetched(described, blobs.load, tmp_path / "shared") for _ in range(5)))

    assert len(set(paths)) == 1
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [paths[0].name]


async def test_a_damaged_index_is_fetched_anew(published: tuple[KnowledgeFile, Blobs], tmp_path: Path) -> None:
    described, blobs = published
    path = await fetched(described, blobs.load, tmp_path)
    path.write_bytes(b"\xff" * described.size)

    with closing(await open_store(described, blobs.load, tmp_path)) as store:
        assert store.size == 100


async def test_pieces_that_do_not_make_the_file_leave_nothing(
    published: tuple[KnowledgeFile, Blobs], tmp_path: Path
) -> None:
    described, blobs = published
    wrong = described.model_copy(update={"pieces": described.pieces[1:]})
    gone = described.model_copy(update={"pieces": (Blob(path="x/0", sha256="00", size=1),)})

    with pytest.raises(UnusableInput, match="publish the catalog again"):
        await fetched(wrong, blobs.load, tmp_path / "cache")
    with pytest.raises(BrokerError, match="no longer in Redis"):
        await fetched(gone, blobs.load, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_named(published: tuple[KnowledgeFile, Blobs], tmp_path: Path) -> None:
    described, blobs = published
    (tmp_path / "file").write_text("")

    with pytest.raises(UnusableInput, match="cannot be written"):
        await fetched(described, blobs.load, tmp_path / "file")


def test_the_files_used_longest_ago_are_removed(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        path = tmp_path / f"{name}.sqlite"
        path.write_bytes(b"x" * 10)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))

    trim(tmp_path, 20)
    assert {path.stem for path in tmp_path.iterdir()} == {"new", "middle"}
    trim(tmp_path, 5)
    assert {path.stem for path in tmp_path.iterdir()} == {"new"}
