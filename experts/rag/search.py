"""Searches the documents of an expert: in the index that was published with its card, or in one made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog

from experts.base import LoadBlob
from experts.knowledge.delivery import open_store
from experts.knowledge.languages import ENGLISH
from experts.knowledge.question import Naming
from experts.knowledge.retrieval import RetrievedPassage, Retriever, joined
from experts.knowledge.sqlite_store import SqliteStore
from experts.knowledge.terms import terms
from experts.rag.index import Hit
from swarm.errors import BrokerError, BrokerUnavailable, MissingDependency, SwarmError
from swarm.runtime.cache_folder import cache_folder
from swarm.runtime.thread_pool import in_thread
from swarm.types.card import Card

if TYPE_CHECKING:
    from swarm.encoder.base import Reranker

RELATED = 2.0
"""Standard deviations above the cosine of unrelated texts from which on a passage without a word in common counts."""
UNHURRIED = 2.0
"""Seconds that a card's `timeout` must have for the reranker, which takes up to half a second for a question."""
_log = structlog.get_logger()

FETCHED = "knowledge"
"""The cache folder of index files that workers fetched."""


class PassageSearch(Protocol):
    """Finds the passages that may answer a question."""

    @property
    def size(self) -> int:
        """The number of passages."""
        ...

    async def find(self, question: str, count: int, *, join: bool = False) -> list[Hit]:
        """The `count` best passages for `question`, best first; with `join`, those beside each other as one."""
        ...

    async def judge(self, question: str, texts: Sequence[str], budget_ms: float) -> list[float] | None:
        """The reranker's logits of the first texts, see `swarm.encoder.base.Reranker`; None if it does not read them.

        It reads English only, and only where it is installed.
        """
        ...

    def weights(self, question: str) -> Mapping[str, float]:
        """The weight of each stem of the question's content words. Blocks."""
        ...

    def stems(self, text: str) -> set[str]:
        """The stems of a text's content words, as `weights` has them."""
        ...


class KnowledgeSearch:
    """A PassageSearch in a published index. Close it after use."""

    def __init__(self, retriever: Retriever, store: SqliteStore) -> None:
        self.retriever, self._store, self.size = retriever, store, store.size

    async def find(self, question: str, count: int, *, join: bool = False) -> list[Hit]:
        found = [each for each in await self.retriever.search(question, count) if self._is_near(each)]
        found = await in_thread(joined, self._store, found) if join else found
        return [self._hit(each) for each in found]

    async def judge(self, question: str, texts: Sequence[str], budget_ms: float) -> list[float] | None:
        return await self.retriever.judge(question, texts, budget_ms)

    def _hit(self, found: RetrievedPassage) -> Hit:
        encoder = self.retriever.encoder
        likeness = None if encoder is None or found.cosine is None else encoder.calibration.z(found.cosine)
        return Hit(found.passage, found.words, found.coverage, found.score, likeness, found.reranked)

    def _is_near(self, found: RetrievedPassage) -> bool:
        """Whether a passage has a word of the question, or a meaning that is nearer than that of unrelated texts."""
        if found.words or found.cosine is None or self.retriever.encoder is None:
            return found.words > 0
        return self.retriever.encoder.calibration.z(found.cosine) >= RELATED

    def weights(self, question: str) -> Mapping[str, float]:
        return {stem: term.weight for term in self.retriever.terms(question) for stem in term.stems}

    def stems(self, text: str) -> set[str]:
        return {stem for language in self._store.languages or (ENGLISH,) for stem in terms(text, language)}

    async def aclose(self) -> None:
        await in_thread(self._store.close)


class SearchingExpert:
    """What experts over documents share: they close their search."""

    def __init__(self, card: Card, search: PassageSearch) -> None:
        self.card, self.search = card, search

    async def aclose(self) -> None:
        if isinstance(self.search, KnowledgeSearch):
            await self.search.aclose()


async def open_search(card: Card, load_blob: LoadBlob) -> KnowledgeSearch | None:
    """Open the index that was published with `card`; None if there is none, or none is left of a former version.

    Raises MissingDependency with the remedy if the encoder of the index is not installed here, and UnusableInput if
    the index is damaged or another encoder's.
    """
    if card.knowledge is None:
        return None
    from swarm.encoder.onnx import open_encoder

    encoder = open_encoder() if card.knowledge.encoder else None
    try:
        store = await open_store(card.knowledge, load_blob, await in_thread(cache_folder, FETCHED))
    except BrokerUnavailable:
        raise
    except BrokerError as error:
        _log.warning("index_missing", expert=card.name, version=card.version, problem=str(error))
        return None
    naming = Naming(card.name.replace("-", " "), card.description)
    try:
        retriever = Retriever(
            store,
            encoder=encoder,
            reranker=installed_reranker() if encoder and card.timeout >= UNHURRIED else None,
            is_english=encoder.is_english if encoder else None,
            naming=naming,
        )
    except SwarmError:
        store.close()
        raise
    return KnowledgeSearch(retriever, store)


def installed_reranker() -> Reranker | None:
    """The reranker, or None if its files are not there. Raises what `open_reranker` raises else."""
    from swarm.encoder.onnx import open_reranker

    try:
        return open_reranker()
    except MissingDependency:
        return None
