"""The cache of vectors: what is encoded, what is found again, what is dropped, and what happens when it fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray

from swarm.encoder.base import UNCALIBRATED, Calibration, TextKind
from swarm.encoder.cache import WINDOW, CachedEncoder, VectorCache, cache_key


class Lengths:
    """An encoder whose vectors hold the length of the text. It remembers what it was asked."""

    calibration: Calibration = UNCALIBRATED
    dimension = 3

    def __init__(self, identity: str = "lengths@1") -> None:
        self.identity = identity
        self.asked: list[str] = []

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        self.asked += texts
        return np.array([[len(text), len(kind), 1] for text in texts], np.float32).reshape(-1, 3)


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "deep" / "vectors.sqlite")


async def test_a_text_is_encoded_once(cache: VectorCache) -> None:
    encoder = Lengths()
    first = await CachedEncoder(encoder, cache).encode(["one", "three", "one"])
    again = await CachedEncoder(encoder, VectorCache(cache.path)).encode(["three", "seventh", "one"])

    assert encoder.asked == ["one", "three", "seventh"]
    assert first[:, 0].tolist() == [3, 5, 3]
    assert again[:, 0].tolist() == [5, 7, 3]
    assert again.dtype == np.float32


async def test_kind_and_encoder_are_part_of_the_key(cache: VectorCache) -> None:
    encoder, other = Lengths(), Lengths("lengths@2")
    for each, kind in ((encoder, "text"), (encoder, "query"), (other, "text")):
        await CachedEncoder(each, cache).encode(["one"], kind=kind)  # type: ignore[arg-type]

    assert encoder.asked == ["one", "one"]
    assert other.asked == ["one"]


def test_a_key_holds_any_text_and_depends_on_each_part() -> None:
    parts = [("a", "text", "b"), ("a", "query", "b"), ("c", "text", "b"), ("a", "text", "c"), ("a", "text", "\ud800")]

    assert len({cache_key(*part) for part in parts}) == len(parts)  # type: ignore[arg-type]


async def test_no_text_asks_nothing(cache: VectorCache) -> None:
    assert (await CachedEncoder(Lengths(), cache).encode([])).shape == (0, 3)
    assert not cache.path.exists()


async def test_what_was_encoded_before_an_error_is_kept(cache: VectorCache) -> None:
    class Fails(Lengths):
        async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
            if self.asked:
                raise OSError("no more")
            return await super().encode(texts, kind=kind)

    texts = [f"text {number}" for number in range(WINDOW + 1)]
    with pytest.raises(OSError, match="no more"):
        await CachedEncoder(Fails(), cache).encode(texts)
    encoder = Lengths()
    await CachedEncoder(encoder, cache).encode(texts)

    assert encoder.asked == texts[WINDOW:]


def test_the_oldest_vectors_are_dropped_and_the_file_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = VectorCache(tmp_path / "small.sqlite", max_bytes=400_000)
    day = 86_400
    for number in range(60):
        monkeypatch.setattr("time.time", lambda number=number: 2 * day * number)
        cache.put({bytes([number, at]): b"v" * 1_000 for at in range(20)})
        cache.get([bytes([0, 0])])  # is in use

    left = {key[0] for key in cache.get(bytes([number, at]) for number in range(60) for at in range(20))}
    assert {0, 59, 58, 57} <= left
    assert 1 not in left
    assert (tmp_path / "small.sqlite").stat().st_size < 600_000


async def test_a_damaged_file_costs_no_result_and_is_told_once(cache: VectorCache) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(b"no database " * 1_000)
    encoder = CachedEncoder(Lengths(), cache)

    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert (await encoder.encode(["one"]))[0, 0] == 3

    assert [(line["event"], line["file"]) for line in lines] == [("vector_cache_failed", str(cache.path))]


async def test_vectors_of_another_length_are_not_used(cache: VectorCache) -> None:
    cache.put({cache_key("lengths@1", "text", "one"): b"1234"})

    assert (await CachedEncoder(Lengths(), cache).encode(["one"]))[0, 0] == 3


def test_a_closed_cache_opens_again(cache: VectorCache) -> None:
    cache.put({b"a": b"1"})
    cache.close()

    assert cache.get([b"a", b"b"]) == {b"a": b"1"}
    cache.close()
    with sqlite3.connect(cache.path) as file:
        assert file.execute("pragma journal_mode").fetchone() == ("wal",)
    file.close()
