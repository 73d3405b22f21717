"""A catalog is published while workers run: new experts are served, old jobs end as they were planned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from experts.catalog.loader import Loaded, catalog_of, read_folder, versioned, with_implementations
from swarm.broker.catalog_store import CatalogStore
from swarm.client.client import SwarmClient
from swarm.logging import LEFT_OUT
from swarm.settings import Settings
from swarm.types.card import Card, Catalog
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.processes import EXPERTS, ROUTER, echo, expert, kinds, publish, serving, until
from workers.catalog_publisher import publish as publish_folder
from workers.process import Roles


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


def desk(words: str) -> Card:
    """An expert that says `words`: its behaviour is in its card."""
    card = Card(name="desk", kind="instruction", description="says words", model="local/template", instruction=words)
    return versioned(card)


class Gate:
    """An expert that the test lets go."""

    def __init__(self) -> None:
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()
        self.expert = expert("gate", self.solve)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside.set()
        await self.go_on.wait()
        return "through"


AFTER_THE_GATE = [
    {"id": "t1", "expert": "gate", "instruction": "wait"},
    {"id": "t2", "expert": "desk", "instruction": "say it", "depends_on": ["t1"]},
]


async def test_a_new_expert_is_served_without_a_restart(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient
) -> None:
    old = expert("old", echo)
    await publish(settings, old)
    async with serving(settings, old):
        first = await client.ask("one", expert="old", timeout=40)
        await catalog_store.publish(catalog_of({"desk": desk("hello"), "old": old.card}), {})
        second = await client.ask("two", expert="desk", timeout=40)

    assert (first.text, second.text) == ("one", "hello")


async def test_a_published_folder_is_served_documents_and_all(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient, tmp_path: Path
) -> None:
    folder = tmp_path / "cards"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "rules.md").write_text("# Returns\n\nA parcel may be returned within 31 days.\n")
    (folder / "rules.md").write_text(
        "---\nname: rules\nkind: rag\ndescription: Answers what the rules say.\n"
        "model: local/extract\ndocuments: docs/\n---\nQuote the rule.\n"
    )
    other = expert("other", echo)
    await publish(settings, other)
    async with serving(settings, other):
        loaded: Loaded = with_implementations(read_folder(folder), {"other": other.card})
        await catalog_store.publish(loaded.catalog, loaded.blobs)
        answer = await client.ask("Within how many days may a parcel be returned?", expert="rules", timeout=40)

    assert "31 days" in answer.text
    assert answer.segments[0].citations


async def test_documents_that_are_left_out_are_logged(
    settings: Settings, catalog_store: CatalogStore, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "rules.md").write_text("A parcel may be returned within 31 days.")
    (tmp_path / "docs" / "empty.md").write_text("")
    (tmp_path / "rules.md").write_text(
        "---\nkind: rag\ndescription: Answers what the rules say.\nmodel: local/extract\ndocuments: docs/\n---\n"
    )
    with capture_logs() as lines:
        await publish_folder(catalog_store, tmp_path, {})
        await publish_folder(catalog_store, tmp_path, {})

    (told,) = [line for line in lines if line["event"] == LEFT_OUT]
    assert (told["expert"], told["read"], told["left_out"]) == ("rules", 1, 1)
    assert told["files"] == ["docs/empty.md is empty; write something into it, or remove it"]


async def test_a_job_keeps_the_version_it_was_accepted_with(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient
) -> None:
    gate = Gate()
    await catalog_store.publish(catalog_of({"desk": desk("the old words"), "gate": gate.expert.card}), {})
    async with serving(settings, gate.expert):
        before = await client.submit("go", plan=AFTER_THE_GATE)
        await gate.inside.wait()
        await catalog_store.publish(catalog_of({"desk": desk("the new words"), "gate": gate.expert.card}), {})
        after = await client.submit("go", plan=AFTER_THE_GATE)
        gate.go_on.set()
        answers = [await before.answer(40), await after.answer(40)]

    assert [answer.text for answer in answers] == ["the old words", "the new words"]


async def test_a_removed_expert_still_answers_the_jobs_that_were_planned_with_it(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient
) -> None:
    gate = Gate()
    await catalog_store.publish(catalog_of({"desk": desk("still here"), "gate": gate.expert.card}), {})
    async with serving(settings, gate.expert):
        before = await client.submit("go", plan=AFTER_THE_GATE)
        await gate.inside.wait()
        await catalog_store.publish(catalog_of({"gate": gate.expert.card}), {})
        # also a worker that started after the expert was removed
        async with serving(settings, gate.expert):
            gate.go_on.set()
            answer = await before.answer(40)

    assert (answer.ending, answer.text) == ("completed", "still here")


async def test_a_worker_that_started_before_any_catalog_serves_the_first(
    settings: Settings, client: SwarmClient
) -> None:
    first = expert("first", echo)
    async with serving(settings, first) as process:
        await until(lambda: process.worker.last_claim, "a worker that claims")
        await publish(settings, first)
        answer = await client.ask("hello", expert="first", timeout=40)

    assert answer.text == "hello"


async def test_a_worker_without_the_implementation_does_not_claim(settings: Settings, client: SwarmClient) -> None:
    mine, theirs = expert("mine", echo), expert("theirs", echo)
    await publish(settings, mine, theirs)
    async with serving(settings, mine) as process:
        job = await client.submit("for them", expert="theirs")
        await client.ask("for me", expert="mine", timeout=40)
        before = kinds(await client.log.events(job.id) or [])
        assert process.runs.queues == ["run:mine@1"]
        async with serving(settings, theirs, roles=EXPERTS):
            answer = await job.answer(40)

    assert before[-1] == "released"
    assert answer.text == "for them"


async def test_a_worker_with_another_version_does_not_answer(settings: Settings, client: SwarmClient) -> None:
    """While workers are exchanged, those that still have the old code leave the jobs of the new to the new."""

    async def new(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        return "the new code"

    async def old(subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        return "the old code"

    before = expert("code", old, implementation="acme:Code", version="1")
    after = expert("code", new, implementation="acme:Code", version="2")
    await publish(settings, after)
    async with serving(settings, before):
        job = await client.submit("go", expert="code")
        await until(lambda: _released(client, job.id), "the release")
        async with serving(settings, after, roles=EXPERTS):
            answer = await job.answer(40)

    assert answer.text == "the new code"


async def test_a_worker_serves_the_kinds_it_was_told_to(settings: Settings, client: SwarmClient) -> None:
    instruction, tuned = expert("a", echo), expert("b", echo, kind="fine-tuned")
    by_kind, by_name = Roles(router=False, kinds=["fine-tuned"]), Roles(router=False, experts=["a"])
    await publish(settings, instruction, tuned)
    async with (
        serving(settings, roles=ROUTER),
        serving(settings, instruction, tuned, roles=by_kind) as one,
        serving(settings, instruction, tuned, roles=by_name) as other,
    ):
        answers = [await client.ask("x", expert="a", timeout=40), await client.ask("y", expert="b", timeout=40)]

    assert [answer.text for answer in answers] == ["x", "y"]
    assert (one.runs.queues, other.runs.queues) == (["run:b@1"], ["run:a@1"])


async def test_publishing_the_same_again_changes_nothing(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient
) -> None:
    catalog: Catalog = catalog_of({"desk": desk("hello")})
    await catalog_store.publish(catalog, {})
    async with serving(settings):
        first = await client.ask("go", expert="desk", timeout=40)
        former = await catalog_store.publish(catalog, {})
        second = await client.ask("go", expert="desk", timeout=40)

    assert former == catalog.version
    assert first.text == second.text == "hello"


async def _released(client: SwarmClient, job: str) -> bool:
    return "released" in kinds(await client.log.events(job) or [])
