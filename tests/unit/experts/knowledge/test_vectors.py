"""Search by meaning, with the encoder and the reranker that come with the extra."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from experts.knowledge.analysis import IndexedDocument
from experts.knowledge.builder import build
from experts.knowledge.fusion import fused
from experts.knowledge.passages import Passage
from experts.knowledge.retrieval import Retriever
from experts.knowledge.sqlite_store import SqliteStore
from swarm.encoder.base import Encoder, TextKind
from swarm.encoder.onnx import open_encoder, open_reranker
from swarm.errors import MissingDependency, UnusableInput

TEXTS = (
    "A parcel takes two days.",
    "Damaged goods are replaced free of charge.",
    "The invoice is sent by mail.",
    "Our shop is closed on Sundays.",
)


class CountingEncoder:
    """The real encoder, under an identity of its own if wanted; it remembers which passages it was given."""

    def __init__(self, identity: str = "") -> None:
        self._encoder: Encoder = open_encoder()
        self.identity = identity or self._encoder.identity
        self.dimension, self.calibration = self._encoder.dimension, self._encoder.calibration
        self.given: list[str] = []

    async def encode(self, texts: Sequence[str], *, kind: TextKind = "text") -> NDArray[np.float32]:
        if kind == "passage":
            self.given += texts
        return await self._encoder.encode(texts, kind=kind)


def documents(*texts: str) -> list[IndexedDocument]:
    return [IndexedDocument(f"{n}.md", [Passage(f"{n}.md", "", text)]) for n, text in enumerate(texts)]


async def test_a_question_in_other_words_finds_its_passage(tmp_path: Path) -> None:
    encoder = open_encoder()
    with closing(SqliteStore(await build(documents(*TEXTS), tmp_path, encoder=encoder))) as store:
        first, *_ = await Retriever(store, encoder=encoder).search("My mug arrived smashed")

    assert first.passage.text == TEXTS[1]
    assert first.words == 0
    assert first.cosine is not None
    assert first.cosine > 0.5


async def test_the_reranker_decides_among_the_best(tmp_path: Path) -> None:
    encoder, reranker = open_encoder(), open_reranker()
    with closing(SqliteStore(await build(documents(*TEXTS), tmp_path, encoder=encoder))) as store:
        retriever = Retriever(store, encoder=encoder, reranker=reranker, is_english=encoder.is_english)
        retriever.budget_ms = None
        english = await retriever.search("Do you replace broken cups?")
        german = await retriever.search("Werden zerbrochene Lieferungen kostenlos ausgetauscht?")

    scores = [hit.score for hit in english]
    assert english[0].passage.text == TEXTS[1]
    assert scores == sorted(scores, reverse=True)
    assert all(hit.reranked is not None and hit.score != hit.fused for hit in english)
    assert {hit.reranked for hit in german} == {None}


async def test_only_new_passages_are_encoded(tmp_path: Path) -> None:
    encoder, told = CountingEncoder(), list[tuple[int, int]]()
    former = await build(documents(*TEXTS), tmp_path, encoder=encoder)
    encoder.given.clear()
    changed = ("A parcel takes three days.", *TEXTS[1:])
    path = await build(
        documents(*changed), tmp_path, encoder=encoder, former=former, progress=lambda *each: told.append(each)
    )
    whole = await build(documents(*changed), tmp_path / "whole", encoder=encoder)

    assert encoder.given[:1] == [changed[0]]
    assert len(encoder.given) == 1 + len(TEXTS)
    assert told == [(1, 1)]
    with closing(SqliteStore(path)) as one, closing(SqliteStore(whole)) as other:
        vector = (await encoder.encode(["parcel"], kind="query"))[0]
        assert one.cosines(vector, [0, 1, 2, 3]) == pytest.approx(other.cosines(vector, [0, 1, 2, 3]), abs=0.02)


async def test_vectors_of_another_encoder_are_not_used_again(tmp_path: Path) -> None:
    former = await build(documents(*TEXTS), tmp_path, encoder=CountingEncoder("other/int8@00000000"))
    encoder = CountingEncoder()
    await build(documents(*TEXTS), tmp_path, encoder=encoder, former=former)

    assert encoder.given == list(TEXTS)


async def test_an_index_of_another_encoder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = await build(documents(*TEXTS), tmp_path, encoder=CountingEncoder("other/int8@00000000"))
    with closing(SqliteStore(path)) as store:
        with pytest.raises(UnusableInput, match=r"other/int8@00000000.*bge-small.*swarm experts publish"):
            Retriever(store, encoder=open_encoder())
        with pytest.raises(MissingDependency, match="other/int8@00000000"):
            Retriever(store)


async def test_filters_hold_for_vectors(tmp_path: Path) -> None:
    encoder = open_encoder()
    with closing(SqliteStore(await build(documents(*TEXTS), tmp_path, encoder=encoder))) as store:
        hits = await Retriever(store, encoder=encoder).search("My mug arrived smashed", where={"document": "3.md"})

    assert [hit.passage.document for hit in hits] == ["3.md"]


def test_fusion_lets_neither_list_outvote_a_clear_winner_of_the_other() -> None:
    words = {1: 12.0, 2: 3.0, 3: 2.5, 4: 2.0}
    cosines = {1: 0.55, 2: 0.6, 3: 0.5, 4: 0.4, 5: 0.61}

    assert max(fused(words, cosines).items(), key=lambda each: each[1])[0] == 1
    assert fused(words, {}, weight=0.0)[1] > fused(words, {}, weight=0.0)[2]
    assert fused({}, {}) == {}
    assert fused({1: 2.0}, {1: 0.5}) == {1: 0.0}
