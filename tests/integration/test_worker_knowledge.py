"""The index of an expert's documents is built where it is published, and workers answer from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from experts.catalog.loader import Loaded
from swarm.broker.catalog_store import INDEX_KEPT_MS, CatalogStore
from swarm.broker.connection import Connection
from swarm.client.client import Job, SwarmClient
from swarm.settings import Settings
from swarm.types.card import Blob
from swarm.types.events import Accepted
from tests.integration.processes import serving
from workers.catalog_publisher import publish, stamp, watch

CARD = """---
name: rules
kind: rag
description: Answers what the rules say.
model: local/extract
documents: docs/
---
Quote the rule.
"""
QUESTION = "Within how many days may a parcel be returned?"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    (folder / "docs").mkdir(parents=True)
    (folder / "rules.md").write_text(CARD)
    write(folder, "A parcel may be returned within 31 days.")
    return folder


def write(folder: Path, rule: str) -> None:
    (folder / "docs" / "rules.md").write_text(f"# Returns\n\n{rule}\n\n# Office\n\nWe open at nine.\n")


async def test_workers_answer_from_the_index_without_the_documents(
    settings: Settings, connection: Connection, catalog_store: CatalogStore, client: SwarmClient, folder: Path
) -> None:
    async with serving(settings) as process:
        loaded = await publish(process.catalog_store, folder, {})
        card = (await catalog_store.catalog(loaded.catalog.version)).cards["rules"]
        for blob in card.blobs:
            await connection.call("DEL", connection.keys.blob(blob.sha256))
        answer = await client.ask(QUESTION, expert="rules", timeout=60)

    assert card.knowledge is not None
    assert "within 31 days" in answer.text


async def test_publishing_the_same_folder_again_changes_nothing(catalog_store: CatalogStore, folder: Path) -> None:
    first = await publish(catalog_store, folder, {})
    again = await publish(catalog_store, folder, {})
    write(folder, "A parcel may be returned within 32 days.")
    changed = await publish(catalog_store, folder, {})

    assert first.catalog == again.catalog
    assert changed.catalog.version != first.catalog.version
    assert await catalog_store.current() == changed.catalog.version


async def test_a_job_keeps_the_documents_that_it_was_planned_with(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient, folder: Path
) -> None:
    old = await publish(catalog_store, folder, {})
    before = await client.submit(QUESTION, expert="rules")
    async with serving(settings) as process:
        await before.answer(timeout=60)
        write(folder, "A parcel may be returned within 32 days.")
        new = await publish(process.catalog_store, folder, {})
        cards = [(await catalog_store.catalog(each.catalog.version)).cards["rules"] for each in (old, new)]
        after = await client.ask(QUESTION, expert="rules", timeout=60)

    assert "within 31 days" in (await before.answer(timeout=60)).text
    assert "within 32 days" in after.text
    assert cards[0].knowledge != cards[1].knowledge


async def test_a_changed_document_of_a_watched_folder_is_found_by_running_workers(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient, folder: Path
) -> None:
    async with serving(settings):
        seen = stamp(folder)
        await publish(catalog_store, folder, {})
        watching = asyncio.create_task(watch(catalog_store, folder, {}, seen))
        try:
            before = await client.ask(QUESTION, expert="rules", timeout=60)
            write(folder, "A parcel may be returned within 45 days.")
            while "within 45 days" not in (after := await client.ask(QUESTION, expert="rules", timeout=60)).text:
                assert "within 31 days" in after.text, "no answer is without the documents"
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    assert "within 31 days" in before.text


async def test_no_answer_is_from_another_version_than_that_of_its_job(
    settings: Settings, catalog_store: CatalogStore, client: SwarmClient, folder: Path
) -> None:
    """Documents change all the time while jobs run, on workers that share a cache folder."""
    days = {}
    asked: list[Job] = []
    async with serving(settings), serving(settings):
        for number in range(100, 112):
            write(folder, f"A parcel may be returned within {number} days.")
            loaded = await publish(catalog_store, folder, {})
            days[loaded.catalog.version] = number
            asked += [await client.submit(QUESTION, expert="rules") for _ in range(4)]
        answers = await asyncio.gather(*(job.answer(timeout=120) for job in asked))
        accepted = [await anext(job.events()) for job in asked]

    pinned = [days[event.catalog] for event in accepted if isinstance(event, Accepted)]
    assert [f"within {number} days" in answer.text for number, answer in zip(pinned, answers, strict=True)] == [
        True for _ in asked
    ]
    assert len(set(pinned)) > 1


async def test_without_its_index_an_expert_answers_from_the_documents(
    settings: Settings, connection: Connection, catalog_store: CatalogStore, client: SwarmClient, folder: Path
) -> None:
    write(folder, "A parcel may be returned within 77 days.")
    async with serving(settings) as process:
        loaded = await publish(process.catalog_store, folder, {})
        for piece in pieces(loaded):
            await connection.call("DEL", connection.keys.blob(piece.sha256))
        answer = await client.ask(QUESTION, expert="rules", timeout=60)

    assert "within 77 days" in answer.text


async def test_the_index_of_a_superseded_version_stays_for_a_short_time_only(
    connection: Connection, catalog_store: CatalogStore, folder: Path
) -> None:
    async def lifetimes(blobs: Iterable[Blob]) -> list[int]:
        return [await connection.call("PTTL", connection.keys.blob(blob.sha256)) for blob in blobs]

    old = await publish(catalog_store, folder, {})
    write(folder, "A parcel may be returned within 78 days.")
    new = await publish(catalog_store, folder, {})
    superseded, current = await lifetimes(pieces(old)), await lifetimes(pieces(new))
    documents = await lifetimes(old.catalog.cards["rules"].blobs)
    write(folder, "A parcel may be returned within 31 days.")
    await publish(catalog_store, folder, {})

    assert all(0 < each <= INDEX_KEPT_MS for each in superseded)
    assert documents[0] > INDEX_KEPT_MS
    assert set(current) == {-1}, "what is current stays"
    assert set(await lifetimes(pieces(old))) == {-1}, "so does what is current again"


def pieces(loaded: Loaded) -> tuple[Blob, ...]:
    knowledge = loaded.catalog.cards["rules"].knowledge
    assert knowledge is not None
    return knowledge.pieces
