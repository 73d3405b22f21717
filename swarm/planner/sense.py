"""Compares requests with experts by meaning, with the encoders of this machine; off the event loop.

A text is compared with name, description and examples of each card. Vectors of cards are kept per catalog version.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from swarm.encoder.base import Encoder
from swarm.encoder.likeness import Subject, Subjects, encode_subjects, mean_of
from swarm.encoder.onnx import open_encoder
from swarm.encoder.use import open_use
from swarm.errors import ExpertError, MissingDependency
from swarm.planner.local.by_meaning import by_words_alone, plan_by_meaning
from swarm.planner.local.wish_ranking import compared
from swarm.text.expert_ranking import Match, Similar
from swarm.text.segments import segmented
from swarm.types.card import Card, Catalog
from swarm.types.events import Planned
from swarm.types.plan import escaped

MAX_TEXTS = 64
"""Texts of a request that are compared; others are judged by words."""
MAX_REQUEST = 20_000
"""Characters of a request; a longer one is planned by words."""
SECONDS = 5.0
"""Time limit of a comparison. The cards of a catalog, which the first one encodes, are encoded to the end."""
_NEAREST = 10
"""Experts of a ranking."""
_KEPT = 8
"""Catalog versions, times encoders, whose vectors are kept."""


class NotCompared(Exception):
    """A request could not be compared by meaning; the message says why. Plan it by words."""


class Sense:
    """Compares texts with experts, within `seconds` each time.

    `english` encoders know no other language, `others` know many.
    """

    def __init__(
        self, english: Sequence[Encoder] = (), others: Sequence[Encoder] = (), *, seconds: float = SECONDS
    ) -> None:
        self._english, self._others, self._seconds = tuple(english), tuple(others), seconds
        self._kept: dict[tuple[str, str], asyncio.Task[Subjects]] = {}

    async def plan(self, text: str, catalog: Catalog) -> Planned:
        """Plan a request without a model. Raises NoPlan with candidates, and NotCompared."""
        safe = escaped(text)
        if len(safe) > MAX_REQUEST:
            raise NotCompared(f"longer than {MAX_REQUEST:,} characters")
        parts = segmented(safe)
        if (clear := by_words_alone(text, parts, catalog.cards)) is not None:
            return clear
        similar = await self.similar(compared(safe, parts), parts.language, catalog)
        return plan_by_meaning(safe, parts, catalog.cards, similar)

    async def rankings(self, text: str, catalog: Catalog) -> list[list[Match]]:
        """Rank the nearest experts for each part of a request by meaning, best first. Raises NotCompared."""
        if len(text) > MAX_REQUEST:
            raise NotCompared(f"longer than {MAX_REQUEST:,} characters")
        parts = segmented(text)
        texts = compared(text, parts)
        similar = await self.similar(texts, parts.language, catalog)
        scored = ((Match(*item) for item in similar(one).items()) for one in texts)
        return [sorted(ranked, key=lambda match: (-match.score, match.expert))[:_NEAREST] for ranked in scored]

    async def similar(self, texts: Sequence[str], language: str, catalog: Catalog) -> Similar:
        """Compare at most MAX_TEXTS texts in a language with the cards. Raises NotCompared."""
        asked = tuple(dict.fromkeys(texts))[:MAX_TEXTS]
        encoders = (*self._english, *self._others) if language == "en" else self._others or self._english
        said: list[list[dict[str, float]]] = []
        failed = ""
        try:
            async with asyncio.timeout(self._seconds):
                for encoder in encoders:
                    try:
                        said.append(await (await self._subjects(encoder, catalog)).likeness(asked))
                    except ExpertError as error:  # the others may do
                        failed = str(error)
        except TimeoutError:
            raise NotCompared(f"the encoder took more than {self._seconds:g} s") from None
        if not said:
            raise NotCompared(failed)
        found = {one: mean_of(rows) for one, *rows in zip(asked, *said, strict=True)}
        return lambda one: found.get(one, {})

    async def _subjects(self, encoder: Encoder, catalog: Catalog) -> Subjects:
        key = (encoder.identity, catalog.version)
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = asyncio.create_task(encode_subjects(encoder, _subjects(catalog.cards)))
        try:
            return await asyncio.shield(self._kept[key])
        except ExpertError:
            self._kept.pop(key, None)
            raise


def open_sense(environ: Mapping[str, str] = os.environ, *, seconds: float = SECONDS) -> Sense | None:
    """The encoders that are installed; None if there are none. Nothing is loaded before it is used."""
    english: list[Encoder] = []
    others: list[Encoder] = []
    for found, opened in ((english, open_encoder), (others, open_use)):
        try:
            found.append(opened(environ=environ))
        except MissingDependency:
            continue
    return Sense(english, others, seconds=seconds) if english or others else None


def _subjects(cards: Mapping[str, Card]) -> list[Subject]:
    return [
        Subject(name, f"{name.replace('-', ' ').replace('_', ' ')}: {card.description}", card.examples)
        for name, card in cards.items()
    ]
