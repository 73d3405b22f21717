"""How well `local/extract` answers and refuses, on the SQuAD 2.0 development half, without a limit of time.

A foreign question is one whose own article is not among the documents; an unanswerable one is of SQuAD 2.0, about an
article that is. Every PART-th question is asked; those that the confidence was fitted on are not among them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experts.knowledge.builder import build
from experts.knowledge.retrieval import Retriever
from experts.knowledge.sqlite_store import SqliteStore
from experts.rag.confidence import ANSWERS, confidence
from experts.rag.extract import SEARCHED, ExtractExpert
from experts.rag.index import Hit
from experts.rag.search import KnowledgeSearch
from swarm.encoder.onnx import OnnxEncoder, OnnxReranker, open_encoder, open_reranker
from swarm.errors import MissingDependency
from swarm.types.card import Card
from swarm.types.plan import Subtask, escaped
from tests.bench.knowledge import document, squad
from tests.bench.report import Metric, Samples
from tests.bench.rig import Skipped

PART = 12
BARS = {"answer_holds": ">= 92", "first_holds": ">= 86", "foreign_refused_5": ">= 95"}
METRICS = {
    name: Metric(unit, BARS.get(name, ""))
    for name, unit in (
        ("answer_holds", "%"), ("first_holds", "%"), ("false_refused", "%"), ("foreign_refused", "%"),
        ("foreign_refused_5", "%"), ("unanswerable_refused", "%"), ("answer_words", "words"), ("answer_ms", "ms"),
    )
}  # fmt: skip
"""`answer_holds`: the answer has the answer given with the data, a refused one has not; `first_holds`: its first quote
has. `foreign_refused_5` is at the threshold that refuses 5 % of the answerable, the others at the default one."""
CARD = Card(name="reader", kind="rag", description="Knows texts.", model="local/extract")


async def extract(rounds: int) -> Samples:
    """Measure `rounds` times; the quality is the same each time. Raises Skipped without the data or the encoder."""
    paragraphs = squad("paragraphs.jsonl")
    answerable, unanswerable = squad("questions.jsonl")[::PART], squad("unanswerable.jsonl")[::PART]
    try:
        encoder, reranker = open_encoder(), open_reranker()
        await encoder.load()
        await reranker.load()
    except MissingDependency as error:
        raise Skipped(str(error)) from None
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            articles = _Articles(Path(folder), paragraphs, encoder, reranker)
            for name, value in (await _measured(articles, answerable, unanswerable)).items():
                found.setdefault(name, []).append(value)
    return found


class _Articles:
    """Experts over all articles, or over all but one. Vectors are computed once."""

    def __init__(
        self, folder: Path, paragraphs: Sequence[dict[str, Any]], encoder: OnnxEncoder, reranker: OnnxReranker
    ) -> None:
        self._folder, self._paragraphs, self._encoder, self._reranker = folder, paragraphs, encoder, reranker
        self._all: Path | None = None

    def title(self, question: dict[str, Any]) -> str:
        """The article of a question."""
        return str(self._paragraphs[question["para"]]["title"])

    async def expert(self, without: str = "") -> ExtractExpert:
        """The expert over all articles but `without`. Close it after use."""
        documents = [document(row["id"], row["text"]) for row in self._paragraphs if row["title"] != without]
        path = await build(documents, self._folder, encoder=self._encoder, former=self._all)
        self._all = self._all or path
        store = SqliteStore(path)
        retriever = Retriever(
            store, encoder=self._encoder, reranker=self._reranker, is_english=self._encoder.is_english
        )
        retriever.budget_ms = None
        return ExtractExpert(CARD, _Remembering(retriever, store))


class _Remembering(KnowledgeSearch):
    """A search that keeps what it found last, so that the confidence of a refused question is known too."""

    last: Sequence[Hit] = ()

    async def find(self, question: str, count: int, *, join: bool = False) -> list[Hit]:
        found = await super().find(question, count, join=join)
        self.last = found
        return found

    async def judge(self, question: str, texts: Sequence[str], budget_ms: float) -> list[float] | None:
        return await self.retriever.judge(question, texts, None)


async def _measured(
    articles: _Articles, answerable: Sequence[dict[str, Any]], unanswerable: Sequence[dict[str, Any]]
) -> dict[str, float]:
    expert = await articles.expert()
    whole, first, sure, lengths, times = [], [], [], [], []
    for question in answerable:
        began = time.perf_counter()
        solution = await expert.solve(Subtask(id="t1", expert="reader", instruction=escaped(question["q"])), {})
        times.append((time.perf_counter() - began) * 1000)
        sure.append(confidence(_last(expert)))
        quotes = [cited.quote for cited in solution.citations]
        whole.append(_holds("\n".join(quotes), question))
        first.append(bool(quotes) and _holds(quotes[0], question))
        lengths += [sum(len(quote.split()) for quote in quotes)] if quotes else []
    doubtful = [await _confidence(expert, question) for question in unanswerable]
    await expert.aclose()
    foreign = []
    for title in sorted({articles.title(question) for question in answerable}):
        others = await articles.expert(without=title)
        foreign += [await _confidence(others, each) for each in answerable if articles.title(each) == title]
        await others.aclose()
    strict = sorted(sure)[len(sure) // 20]
    return {
        "answer_holds": _percent(whole), "first_holds": _percent(first),
        "false_refused": _percent([each < ANSWERS for each in sure]),
        "foreign_refused": _percent([each < ANSWERS for each in foreign]),
        "foreign_refused_5": _percent([each < strict for each in foreign]),
        "unanswerable_refused": _percent([each < ANSWERS for each in doubtful]),
        "answer_words": statistics.mean(lengths), "answer_ms": statistics.median(times),
    }  # fmt: skip


async def _confidence(expert: ExtractExpert, question: dict[str, Any]) -> float:
    return confidence(await expert.search.find(question["q"], SEARCHED))


def _last(expert: ExtractExpert) -> Sequence[Hit]:
    assert isinstance(expert.search, _Remembering)
    return expert.search.last


def _holds(text: str, question: dict[str, Any]) -> bool:
    plain = " ".join(text.split())
    return any(" ".join(answer.split()) in plain for answer in question["answers"])


def _percent(cases: Sequence[bool]) -> float:
    return 100 * sum(cases) / len(cases)
