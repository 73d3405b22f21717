"""How well and how fast passages are found: by words, fused with vectors, and reranked.

Quality is that of the SQuAD 2.0 development half: every paragraph is a passage, and that of the question is the right
one. Speed is that of 10,000 passages, which are these paragraphs again and again with a word of their own each. The
reranked figures are over every RERANKED_PART-th question without a limit of time. Without the encoder's files, only
the words are measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from experts.knowledge.analysis import IndexedDocument
from experts.knowledge.builder import build
from experts.knowledge.passages import Passage
from experts.knowledge.retrieval import Retriever
from experts.knowledge.sqlite_store import SqliteStore
from swarm.broker.catalog_store import CatalogStore
from swarm.encoder.onnx import OnnxEncoder, OnnxReranker, open_encoder, open_reranker
from swarm.errors import MissingDependency
from tests.bench.report import Found, Metric
from tests.bench.rig import ROOT, ROUTER, START, Skipped, rig
from tests.bench.serve import Pool
from workers.catalog_publisher import publish, stamp, watch

RERANKED_PART = 8
TIMED = 200
WATCHED = 200
CHANGES = 5
MANY = 10_000
SCORES = {"mrr": "MRR@10 %", "r1": "R@1 %", "r5": "R@5 %"}
BARS = {
    "fused_mrr": ">= 90.5", "fused_r1": ">= 85", "fused_r5": ">= 97", "reranked_mrr": ">= 94", "query_ms": "<= 6",
    "reranked_ms": "<= 300", "change_s": "<= 2", "worker_mb": "<= 350",
}  # fmt: skip
METRICS = {
    name: Metric(unit, BARS.get(name, ""))
    for name, unit in (
        *((f"{way}_{score}", unit) for way in ("fused", "reranked", "words") for score, unit in SCORES.items()),
        ("query_ms", "ms"), ("search_ms", "ms"), ("words_ms", "ms"), ("reranked_ms", "ms"),
        ("query_cpu_ms", "ms"), ("words_cpu_ms", "ms"), ("reranked_cpu_ms", "ms"),
        ("encode_per_s", "passages/s"), ("index_s", "s"), ("update_s", "s"), ("file_mb", "MB"), ("open_ms", "ms"),
        ("change_s", "s"), ("worker_mb", "MB"),
    )
}  # fmt: skip
"""`query_ms` encodes the question and searches MANY passages; `search_ms` is the search alone, `words_ms` that by words
alone; `_cpu_ms` is processor time. `index_s` makes the index of MANY passages whose vectors are known, `update_s` the
same after one has changed. `change_s` is the time from the change of one of WATCHED files in a watched folder until a
worker process answers from it."""
CARD = "---\nname: reader\nkind: rag\ndescription: Knows texts.\nmodel: local/extract\ndocuments: texts/\n---\n"


async def knowledge(rounds: int) -> Found:
    """Measure `rounds` times; the quality is the same each time. Raises Skipped without the data."""
    paragraphs, questions = squad("paragraphs.jsonl"), squad("questions.jsonl")
    encoder: OnnxEncoder | None = None
    reranker: OnnxReranker | None = None
    notes: tuple[str, ...] = ()
    try:
        encoder, reranker = open_encoder(), open_reranker()
        await encoder.load()
        await reranker.load()
    except MissingDependency as error:
        notes = (f"words alone: {error}",)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            measured = await _quality(Path(folder), paragraphs, questions, encoder, reranker)
            measured |= await _speed(Path(folder), paragraphs, questions, encoder, reranker)
            measured |= await _change(Path(folder) / "catalog", paragraphs[:WATCHED])
            for name, value in measured.items():
                found.setdefault(name, []).append(value)
    return Found(found, notes)


async def _quality(
    folder: Path,
    paragraphs: Sequence[dict[str, Any]],
    questions: Sequence[dict[str, Any]],
    encoder: OnnxEncoder | None,
    reranker: OnnxReranker | None,
) -> dict[str, float]:
    documents = [document(row["id"], row["text"]) for row in paragraphs]
    measured: dict[str, float] = {}
    words = await build(documents, folder)
    with _retriever(words) as retriever:
        measured |= await _scores("words", retriever, questions)
    if encoder is None or reranker is None:
        return measured
    began = time.perf_counter()
    path = await build(documents, folder, encoder=encoder)
    measured["encode_per_s"] = len(documents) / (time.perf_counter() - began)
    with _retriever(path, encoder=encoder, is_english=encoder.is_english) as retriever:
        measured |= await _scores("fused", retriever, questions)
        retriever.reranker, retriever.budget_ms = reranker, None
        measured |= await _scores("reranked", retriever, questions[::RERANKED_PART])
    return measured


async def _scores(way: str, retriever: Retriever, questions: Sequence[dict[str, Any]]) -> dict[str, float]:
    ranks = []
    for question in questions:
        names = [each.passage.document for each in await retriever.search(question["q"], 10)]
        right = str(question["para"])
        ranks.append(names.index(right) + 1 if right in names else 0)
    count = len(ranks) / 100
    return {
        f"{way}_mrr": sum(1 / rank for rank in ranks if rank) / count,
        f"{way}_r1": sum(rank == 1 for rank in ranks) / count,
        f"{way}_r5": sum(0 < rank <= 5 for rank in ranks) / count,
    }


async def _speed(
    folder: Path,
    paragraphs: Sequence[dict[str, Any]],
    questions: Sequence[dict[str, Any]],
    encoder: OnnxEncoder | None,
    reranker: OnnxReranker | None,
) -> dict[str, float]:
    """Times at MANY passages. Their vectors are those of the paragraphs, so that nothing is encoded for them."""
    texts = [row["text"] for row in paragraphs]
    known = _Known(encoder, await encoder.encode(texts, kind="passage")) if encoder else None
    many = [document(number, f"{texts[number % len(texts)]} n{number}") for number in range(MANY)]
    began = time.perf_counter()
    path = await build(many, folder, encoder=known)
    measured = {"index_s": time.perf_counter() - began, "file_mb": path.stat().st_size / 1e6}
    changed = [*many[:-1], document(MANY - 1, "A wholly new paragraph.")]
    began = time.perf_counter()
    await build(changed, folder, encoder=known, former=path)
    measured["update_s"] = time.perf_counter() - began
    asked = [row["q"] for row in questions[:: len(questions) // TIMED]][:TIMED]
    began = time.perf_counter()
    with _retriever(path, encoder=encoder) as retriever:
        await retriever.search(asked[0])
        measured["open_ms"] = (time.perf_counter() - began) * 1000
        measured |= await _times("query", retriever, asked)
        if encoder is not None:
            measured["search_ms"] = measured["query_ms"] - await _encoding_ms(encoder, asked)
            retriever.reranker = reranker
            measured |= await _times("reranked", retriever, asked[::10])
    with _retriever(await build(many, folder)) as retriever:
        measured |= await _times("words", retriever, asked)
    return measured


async def _change(folder: Path, paragraphs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The median time of CHANGES changes, and the memory of the worker that answers from them."""
    (folder / "texts").mkdir(parents=True)
    (folder / "reader.md").write_text(CARD)
    for row in paragraphs:
        (folder / "texts" / f"{row['id']}.txt").write_text(row["text"])
    times = []
    async with rig(ROUTER, Pool(kind="rag")) as bench:
        store = CatalogStore(bench.connection, bench.settings.max_age)
        seen = stamp(folder)
        await publish(store, folder, {})
        watching = asyncio.create_task(watch(store, folder, {}, seen))
        try:
            await bench.client.ask("What is known?", expert="reader", timeout=START)
            for number in range(CHANGES):
                began = time.perf_counter()
                (folder / "texts" / f"{number}.txt").write_text(f"The password of gate {number} is zebra{number}.")
                question = f"What is the password of gate {number}?"
                text = ""
                while f"zebra{number}." not in text:
                    text = (await bench.client.ask(question, expert="reader", timeout=START)).text
                times.append(time.perf_counter() - began)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        memory = psutil.Process(bench.pids[1]).memory_info().rss / 1e6
    return {"change_s": statistics.median(times), "worker_mb": memory}


class _Known:
    """An encoder whose passages are known: it gives their vectors in turn, and encodes nothing."""

    def __init__(self, encoder: OnnxEncoder, vectors: Any) -> None:
        self.identity, self.dimension, self.calibration = encoder.identity, encoder.dimension, encoder.calibration
        self._vectors, self._given = vectors, 0

    async def encode(self, texts: Sequence[str], *, kind: str = "text") -> Any:
        import numpy as np

        rows = np.arange(self._given, self._given + len(texts)) % len(self._vectors)
        self._given += len(texts)
        return self._vectors[rows]


async def _times(way: str, retriever: Retriever, questions: Sequence[str]) -> dict[str, float]:
    """The median time of a question, and its mean processor time, which other load changes little."""
    times, cpu = [], time.process_time()
    for question in questions:
        began = time.perf_counter()
        await retriever.search(question)
        times.append((time.perf_counter() - began) * 1000)
    spent = (time.process_time() - cpu) * 1000 / len(times)
    return {f"{way}_ms": statistics.median(times), f"{way}_cpu_ms": spent}


async def _encoding_ms(encoder: OnnxEncoder, questions: Sequence[str]) -> float:
    times = []
    for question in questions:
        began = time.perf_counter()
        await encoder.encode([question], kind="query")
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


@contextmanager
def _retriever(path: Path, **models: Any) -> Iterator[Retriever]:
    with closing(SqliteStore(path)) as store:
        yield Retriever(store, **models)


def document(number: int, text: str) -> IndexedDocument:
    """A paragraph as a document of its own."""
    return IndexedDocument(str(number), [Passage(str(number), "", text)])


def squad(name: str) -> list[dict[str, Any]]:
    """The rows of a file of the SQuAD data. Raises Skipped where it is not."""
    folder = Path(os.environ.get("SWARM_BENCH_SQUAD") or ROOT.parent / "shared" / "data" / "squad2_dev")
    if not (path := folder / name).is_file():
        raise Skipped(f"{folder} has no {name}; SWARM_BENCH_SQUAD names the folder that has")
    return [json.loads(line) for line in path.read_text().splitlines()]
