"""The right answer of every part: the same experts and the same models' words, asked one by one in this process.

No queue, no claim, no Redis: what the swarm did with forty processes and a storm must be what one coroutine finds.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from experts.python_experts import load_implementations, makers
from experts.registry import MakeContext, Registry
from swarm.llm.base import Message, Model
from swarm.testing.scripted_model import ScriptedModel
from swarm.types.card import Blob, Catalog
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.chaos.lead import SPEC
from tests.chaos.script import says


class Oracle:
    """Answers parts as they should have been answered, with the cards of one of the catalogs."""

    def __init__(self, registry: Registry, catalogs: Mapping[str, Catalog]) -> None:
        self._registry, self._catalogs = registry, catalogs

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, catalogs: Mapping[str, Catalog], blobs: Mapping[str, bytes]) -> AsyncIterator[Oracle]:
        async def load(blob: Blob) -> bytes:
            return blobs[blob.sha256]

        async with Registry(load, _Script(), makers(load_implementations([SPEC]))) as registry:
            yield cls(registry, catalogs)

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(self._catalogs)

    async def solution(
        self,
        version: str,
        expert: str,
        subtask: Subtask,
        inputs: Mapping[str, Solution],
        context: MakeContext | None = None,
    ) -> Solution | None:
        """What an expert answers; None where it has no answer, or is not in that catalog."""
        catalog = self._catalogs.get(version)
        if catalog is None or expert not in catalog.cards:
            return None
        outcome = await self._registry.settle(catalog.cards[expert], subtask, inputs, context=context)
        return outcome if isinstance(outcome, Solution) else None

    def experts(self, version: str, expert: str) -> tuple[str, ...]:
        """Who may answer in the place of an expert, itself first."""
        return (expert, *self._catalogs[version].cards[expert].fallback)

    def model(self, version: str, expert: str) -> str:
        """The model that an expert asks, without its endpoint; empty for one that asks none."""
        endpoint, _, model = self._catalogs[version].cards[expert].model.partition("/")
        return "" if endpoint == "local" else model


class _Script:
    """Every model of the chaos endpoint, on a good day."""

    def get(self, name: str) -> Model:
        return ScriptedModel(partial(_said, name.partition("/")[2]), name)

    async def aclose(self) -> None:
        return None


def _said(model: str, messages: Sequence[Message]) -> str:
    of = {role: [each.content for each in messages if each.role == role] for role in ("system", "user")}
    return says(model, " ".join(of["system"]), of["user"])
