"""Processes of several versions and settings on one Redis: what one does not know it passes over, and nothing stops."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping

import pytest

from experts.catalog.loader import catalog_of
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.settings import Settings
from swarm.types.card import Catalog
from swarm.types.events import Started
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import echo, expert, kinds, publish, serving, until
from workers.process import Roles

ECHO = expert("echo", echo)
ORACLE = json.dumps({"name": "oracle", "kind": "oracular", "description": "knows", "version": "1", "depth": {"of": 3}})
"""A card of a kind that only a newer process knows."""
WEEK = 7 * 86_400


class Gate:
    """An expert that the test lets go, and that tells when it was stopped."""

    def __init__(self) -> None:
        self.inside, self.go_on, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.expert = expert("gate", self.solve)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return "through"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


async def publish_with_oracle(catalog_store: CatalogStore, connection: Connection) -> Catalog:
    """As a newer process would."""
    catalog = catalog_of({"echo": ECHO.card})
    newer = catalog.model_copy(update={"version": "newer"})
    await connection.call("HSET", connection.keys.catalog(newer.version), "oracle", ORACLE)
    await catalog_store.publish(newer, {})
    return newer


# -- cards -------------------------------------------------------------------------------------------------------


async def test_a_card_of_an_unknown_kind_keeps_no_other_expert_from_being_served(
    settings: Settings, client: SwarmClient, catalog_store: CatalogStore, connection: Connection
) -> None:
    await publish(settings, ECHO)
    async with serving(settings, ECHO) as running:
        before = await client.ask("before", expert="echo", timeout=40)
        await publish_with_oracle(catalog_store, connection)
        after = await client.ask("after", expert="echo", timeout=40)
        planned = await client.ask("echo the test's echo", timeout=40)
    async with serving(settings, ECHO) as new:
        again = await client.ask("again", expert="echo", timeout=40)
        known = await client.experts()

    assert [answer.text for answer in (before, after, again)] == ["before", "after", "again"]
    assert planned.ending == "completed"
    assert running.runs.queues == new.runs.queues == ["run:echo@1"]
    assert known is not None
    assert list(known.cards) == ["echo"]


async def test_who_asks_for_an_expert_of_an_unknown_kind_is_rejected_and_told_who_is_there(
    settings: Settings, client: SwarmClient, catalog_store: CatalogStore, connection: Connection
) -> None:
    await publish_with_oracle(catalog_store, connection)
    async with serving(settings, ECHO) as process:
        answer = await client.ask("what will be?", expert="oracle", timeout=40)

    assert answer.ending == "rejected"
    assert "oracle" in answer.reason
    assert "echo" in answer.reason
    assert process.worker.runner.failed == 0


async def test_a_worker_of_a_kind_without_any_card_is_healthy(settings: Settings) -> None:
    await publish(settings, ECHO)
    async with serving(settings, roles=Roles(router=False, kinds=["rag"])) as process:
        await until(lambda: process.worker.report()["healthy"], "a healthy worker")
        assert process.runs.queues == []


# -- events --------------------------------------------------------------------------------------------------------


async def test_an_event_of_an_unknown_kind_is_passed_over_by_callers_and_routers(
    settings: Settings, client: SwarmClient, connection: Connection
) -> None:
    gate = Gate()
    await publish(settings, gate.expert, ECHO)
    plan = [
        {"id": "t1", "expert": "gate", "instruction": "x"},
        {"id": "t2", "expert": "echo", "instruction": "${t1}"},
    ]
    async with serving(settings, gate.expert, ECHO) as process:
        job = await client.submit("go", plan=plan)
        await asyncio.wait_for(gate.inside.wait(), 40)
        number = await connection.call("HINCRBY", connection.keys.job(job.id), "seq", 1)
        place = f"{number}-{int(time.time() * 1000)}"
        await connection.call("XADD", connection.keys.log(job.id), place, "consulted", '{"whom":"the oracle"}')
        gate.go_on.set()
        answer = await job.answer(40)
        seen = [event async for event in job.events()]
        rest = [event async for event in job.events(place)]
        progress = await client.log.progress(job.id)

    whole = [
        "accepted", "planned", "released", "started", "outcome",
        "released", "started", "outcome", "ended",
    ]  # fmt: skip
    assert (answer.ending, answer.text) == ("completed", "through")
    assert kinds(seen) == whole
    assert kinds(rest) == whole[4:]
    assert set(progress.solved) == {"t1", "t2"}
    assert process.worker.runner.failed == 0


async def test_a_job_whose_subtask_an_older_worker_started_is_finished_and_shown_with_its_limit(
    settings: Settings, client: SwarmClient, connection: Connection
) -> None:
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings, gate.expert):
        job = await client.submit("go", expert="gate")
        await asyncio.wait_for(gate.inside.wait(), 40)
        number = await connection.call("HINCRBY", connection.keys.job(job.id), "seq", 1)
        place = f"{number}-{int(time.time() * 1000)}"
        old = {
            "subtask": "t1",
            "attempt": 1,
            "claim": 2,
            "worker": "old",
            "waited": 900,
            "gate": "model:a/b",
            "gated": 850,
        }
        await connection.call("XADD", connection.keys.log(job.id), place, "started", json.dumps(old))
        gate.go_on.set()
        answer = await job.answer(40)
        started = [event async for event in job.events() if isinstance(event, Started)]

    assert (answer.ending, answer.text) == ("completed", "through")
    assert [(event.worker, event.limited_by, event.limited_ms) for event in started[1:]] == [("old", "model:a/b", 850)]


# -- messages ------------------------------------------------------------------------------------------------------


async def test_malformed_messages_on_the_stop_channel_stop_nothing_and_a_cancel_still_arrives_at_once(
    settings: Settings, client: SwarmClient, connection: Connection
) -> None:
    """The lease is so long that no heartbeat tells of the cancel in time."""
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings.model_copy(update={"lease": 600.0}), gate.expert) as process:
        channel = connection.keys.stop(process.worker.name)
        job = await client.submit("go", expert="gate")
        await asyncio.wait_for(gate.inside.wait(), 40)
        for message in (b"", b"one", b"a b c", b"\xff\xfe", b" ", f"{job.id}:t1:1".encode()):
            assert await connection.call("PUBLISH", channel, message) == 1
        await client.log.events(job.id)
        assert not gate.stopped.is_set()
        receipt = await job.cancel(40)
        await asyncio.wait_for(gate.stopped.wait(), 40)

    assert receipt.ending == "cancelled"


# -- settings ------------------------------------------------------------------------------------------------------


async def test_a_former_catalog_lives_as_long_as_the_longest_open_job_whoever_publishes_the_next(
    client: SwarmClient, catalog_store: CatalogStore, connection: Connection
) -> None:
    content = b"a document"
    sha256 = hashlib.sha256(content).hexdigest()
    card = ECHO.card.model_copy(update={"implementation": None})
    old = catalog_of({"echo": card}).model_copy(update={"version": "old"})
    await catalog_store.publish(old, {sha256: content})
    await client.submit("go", expert="echo", max_age=WEEK)
    await client.submit("go", expert="echo", max_age=60)

    hasty = CatalogStore(connection, 1)
    assert await hasty.publish(old.model_copy(update={"version": "new"}), {}) == "old"

    keys = connection.keys
    parts = (keys.catalog("old"), f"{keys.catalog('old')}:blobs", keys.blob(sha256))
    left = [await connection.call("PTTL", key) for key in parts]
    assert all(WEEK * 1000 - 10_000 < each < (WEEK + 3_600) * 1000 for each in left), left
    assert await connection.call("ZSCORE", keys.catalogs, "old") > b"0"
    assert [catalog.version for catalog in await hasty.alive()] == ["new", "old"]


async def test_a_former_catalog_that_no_job_needs_lives_for_the_lifetime_of_its_publisher(
    catalog_store: CatalogStore, connection: Connection
) -> None:
    old = catalog_of({"echo": ECHO.card}).model_copy(update={"version": "old"})
    await catalog_store.publish(old, {})
    await CatalogStore(connection, 30).publish(old.model_copy(update={"version": "new"}), {})

    assert 20_000 < await connection.call("PTTL", connection.keys.catalog("old")) <= 30_000
