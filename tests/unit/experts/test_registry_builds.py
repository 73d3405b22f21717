"""Experts are built once, kept in bounds, and closed in order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest
import structlog

from experts.base import Expert
from experts.kinds import KINDS, Builder, ExpertKind
from experts.registry import Registry
from swarm.errors import BrokerUnavailable, ModelUnavailable
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution
from tests.unit.experts.settling import ASKED, Scripted, Solve, a_card, answering, no_blob

# -- building and closing --------------------------------------------------------------------------------------


def built_by(build: Builder) -> ExpertKind:
    return replace(KINDS["instruction"], build=build)


class Workshop:
    """Makes experts for a registry, by slow builds of the kind `instruction`, and keeps the book."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, solve: Solve | None = None) -> None:
        self.built: list[str] = []
        self.closed: list[str] = []
        self.fail = 0
        self.solve: Solve = solve or answering(Solution(text="ok"))
        monkeypatch.setattr(sys.modules["experts.registry"], "KINDS", {"instruction": built_by(self.build)})

    async def build(self, card: Card, load_blob: object, models: object) -> Expert:
        self.built.append(card.version)
        await asyncio.sleep(0.01)
        if self.fail:
            self.fail -= 1
            raise ModelUnavailable("not yet")
        return Scripted(self.solve, self.closed, card.version)


def versions(*names: str) -> list[Card]:
    return [a_card(implementation=None, version=name) for name in names]


async def test_an_expert_is_built_once_however_many_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, (card,) = Workshop(monkeypatch), versions("1")

    async with Registry(no_blob) as registry:
        outcomes = await asyncio.gather(*(registry.settle(card, ASKED, {}) for _ in range(20)))

    assert outcomes == [Solution(text="ok")] * 20
    assert shop.built == ["1"]


async def test_a_build_outlives_the_one_who_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, (card,) = Workshop(monkeypatch), versions("1")

    async with Registry(no_blob) as registry:
        first = asyncio.create_task(registry.settle(card, ASKED, {}))
        second = asyncio.create_task(registry.settle(card, ASKED, {}))
        await asyncio.sleep(0)
        first.cancel()

        assert await second == Solution(text="ok")
    assert shop.built == ["1"]


async def test_a_build_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, (card,) = Workshop(monkeypatch), versions("1")
    shop.fail = 1

    async with Registry(no_blob) as registry:
        both = await asyncio.gather(registry.settle(card, ASKED, {}), registry.settle(card, ASKED, {}))
        assert [outcome.reason for outcome in both if isinstance(outcome, Failure)] == ["unavailable"] * 2
        assert await registry.settle(card, ASKED, {}) == Solution(text="ok")
    assert shop.built == ["1", "1"]


async def test_experts_are_closed_in_reverse_order_of_building(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(monkeypatch)

    async with Registry(no_blob) as registry:
        for card in versions("1", "2", "3", "1"):
            await registry.settle(card, ASKED, {})

    assert shop.closed == ["3", "2", "1"]


async def test_the_expert_used_least_lately_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(monkeypatch)

    async with Registry(no_blob, size=2) as registry:
        for card in versions("1", "2", "1", "3"):
            await registry.settle(card, ASKED, {})
        await registry.settle(versions("2")[0], ASKED, {})

    assert shop.built == ["1", "2", "3", "2"]
    assert shop.closed[0] == "2"
    assert sorted(shop.closed) == ["1", "2", "2", "3"]


async def test_an_expert_in_use_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        if subtask.instruction == "wait":
            await go.wait()
            assert "1" not in shop.closed
        return Solution(text="ok")

    shop = Workshop(monkeypatch, solve)
    async with Registry(no_blob, size=1) as registry:
        first, second = versions("1", "2")
        waiting = asyncio.create_task(registry.settle(first, ASKED.model_copy(update={"instruction": "wait"}), {}))
        await asyncio.sleep(0.03)
        await registry.settle(second, ASKED, {})
        go.set()
        assert await waiting == Solution(text="ok")


async def test_an_error_in_closing_does_not_keep_others_open(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(monkeypatch)

    async def fails() -> None:
        raise RuntimeError("stuck")

    with structlog.testing.capture_logs() as logs:
        async with Registry(no_blob) as registry:
            await registry.settle(versions("1")[0], ASKED, {})
            broken = Scripted(answering(Solution(text="ok")))
            monkeypatch.setattr(broken, "aclose", fails)
            monkeypatch.setattr(shop, "build", None)
            monkeypatch.setattr(sys.modules["experts.registry"], "KINDS", {"instruction": built_by(_giving(broken))})
            await registry.settle(versions("2")[0], ASKED, {})

    assert shop.closed == ["1"]
    assert [log["event"] for log in logs] == ["expert_close_failed"]


def _giving(expert: Expert) -> Callable[..., Awaitable[Expert]]:
    async def build(*arguments: object) -> Expert:
        return expert

    return build


async def test_a_constructor_that_exits_costs_one_subtask_and_not_the_worker() -> None:
    def exits() -> Expert:
        raise SystemExit(3)

    async with Registry(no_blob, implementations={"test:Test": exits}) as registry:
        outcome = await registry.settle(a_card(), ASKED, {})

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("bug", False)
    assert "SystemExit(3)" in outcome.message


@pytest.mark.parametrize("error", [SystemExit(3), None])
async def test_an_expert_that_does_not_close_is_given_up(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    async def never() -> None:
        if error is not None:
            raise error
        await asyncio.sleep(60)

    monkeypatch.setattr("experts.registry.CLOSING", 0.05)
    stuck = Scripted(answering(Solution(text="ok")))
    monkeypatch.setattr(stuck, "aclose", never)
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(40), Registry(no_blob, implementations={"test:Test": lambda: stuck}) as registry:
            await registry.settle(a_card(), ASKED, {})

    assert [log["event"] for log in logs] == ["expert_close_failed"]


async def test_redis_away_while_an_expert_is_built_is_tried_again() -> None:
    async def away(blob: Blob) -> bytes:
        raise BrokerUnavailable("redis://x", "refused")

    blob = Blob(path="a.md", sha256="0", size=1)
    async with Registry(away) as registry:
        card = a_card(kind="rag", model="local/extract", implementation=None, blobs=(blob,))
        outcome = await registry.settle(card, ASKED, {})

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("unavailable", True)
