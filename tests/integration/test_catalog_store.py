"""Publishing: the current catalog stays, the former one lives on for the jobs pinned to it, and then goes."""

from __future__ import annotations

import hashlib

import pytest

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.keys import Keys
from swarm.errors import BrokerError, EmptyCatalog
from swarm.types.card import Blob, Catalog
from tests.conftest import Hands, a_card

POLICY, FAQ = b"All goods may be returned.", b"We deliver on Mondays."


def blob(content: bytes, path: str = "policy.md") -> Blob:
    return Blob(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


async def publish(catalog_store: CatalogStore, version: str, *contents: bytes) -> str | None:
    blobs = tuple(blob(content) for content in contents)
    catalog = Catalog(version=version, cards={"a": a_card("a", blobs=blobs)})
    return await catalog_store.publish(catalog, {b.sha256: content for b, content in zip(blobs, contents, strict=True)})


async def lifetimes(hands: Hands) -> dict[str, bool]:
    """Which keys of catalogs have a lifetime."""
    found = {}
    for kind in ("catalog:*", "blob:*"):
        for key in await hands.call("KEYS", f"{hands.keys.prefix}:{kind}"):
            name = key.decode().partition(":")[2]
            found[name] = await hands.call("PTTL", key) > 0
    return found


@pytest.fixture
def player(hands: Hands) -> Hands:
    """Only for its eyes; the catalogs are this module's own."""
    return hands


async def test_the_current_version_stays_and_its_successor_takes_its_place(
    catalog_store: CatalogStore, player: Hands
) -> None:
    assert await publish(catalog_store, "one", POLICY) == "v1"
    assert await catalog_store.current() == "one"
    assert await publish(catalog_store, "two", FAQ) == "one"
    assert await catalog_store.current() == "two"

    assert await lifetimes(player) == {
        "catalog:v1": True,
        "catalog:one": True, "catalog:one:blobs": True, f"blob:{blob(POLICY).sha256}": True,
        "catalog:two": False, "catalog:two:blobs": False, f"blob:{blob(FAQ).sha256}": False,
    }  # fmt: skip
    assert [catalog.version for catalog in await catalog_store.alive()] == ["two", "one", "v1"]


async def test_a_document_that_both_versions_have_stays(catalog_store: CatalogStore, player: Hands) -> None:
    await publish(catalog_store, "one", POLICY, FAQ)
    await publish(catalog_store, "two", POLICY)

    kept = await lifetimes(player)
    assert not kept[f"blob:{blob(POLICY).sha256}"]
    assert kept[f"blob:{blob(FAQ).sha256}"]


async def test_publishing_the_former_version_again_makes_it_stay(catalog_store: CatalogStore, player: Hands) -> None:
    for version, content in (("one", POLICY), ("two", FAQ), ("one", POLICY)):
        await publish(catalog_store, version, content)

    assert await catalog_store.current() == "one"
    kept = await lifetimes(player)
    assert [kept["catalog:one"], kept["catalog:one:blobs"], kept[f"blob:{blob(POLICY).sha256}"]] == [False] * 3
    assert [kept["catalog:two"], kept["catalog:two:blobs"], kept[f"blob:{blob(FAQ).sha256}"]] == [True] * 3
    assert [catalog.version for catalog in await catalog_store.alive()] == ["one", "two", "v1"]


async def test_publishing_the_current_version_again_changes_nothing(catalog_store: CatalogStore, player: Hands) -> None:
    await publish(catalog_store, "one", POLICY)
    before = await lifetimes(player)

    assert await publish(catalog_store, "one", POLICY) == "one"

    assert await lifetimes(player) == before


async def test_a_job_keeps_the_version_it_was_accepted_with(catalog_store: CatalogStore, player: Hands) -> None:
    await player.submit("j", "t1:a")
    await publish(catalog_store, "two", FAQ)
    await player.submit("k", "t1:a")

    claims = {claim.job: claim.extra[5].decode() for claim in await player.claim("advance", free=2)}

    assert claims == {"j": "v1", "k": "two"}


async def test_the_pointer_does_not_move_when_documents_have_gone(catalog_store: CatalogStore, player: Hands) -> None:
    with pytest.raises(BrokerError, match="blob has expired"):
        await player.connection.script("publish", "two", 1_000, 0, 1, "a", "{}", "feed")

    assert await catalog_store.current() == "v1"
    assert await lifetimes(player) == {"catalog:v1": False}, "nothing was half written"


async def test_a_version_that_is_gone_is_said_to_be_gone(catalog_store: CatalogStore, player: Hands) -> None:
    with pytest.raises(EmptyCatalog, match="version long-ago"):
        await catalog_store.catalog("long-ago")
    with pytest.raises(EmptyCatalog):
        await catalog_store.publish(Catalog(version="none", cards={}), {})
    assert await catalog_store.current() == "v1"


async def test_nothing_is_current_before_the_first_publication(catalog_store: CatalogStore) -> None:
    assert await catalog_store.current() is None
    assert await catalog_store.alive() == []


async def test_cards_come_back_as_they_were_and_in_order(catalog_store: CatalogStore, player: Hands) -> None:
    cards = {name: a_card(name, description=f"answers {name}", timeout=5.0) for name in ("zeta", "alpha", "mid")}
    await catalog_store.publish(Catalog(version="two", cards=cards), {})

    read = await CatalogStore(player.connection, 60).catalog("two")

    assert read.cards == cards
    assert list(read.cards) == ["alpha", "mid", "zeta"]


async def test_a_document_is_checked_against_its_hash(catalog_store: CatalogStore, player: Hands, keys: Keys) -> None:
    await publish(catalog_store, "one", POLICY)
    assert await catalog_store.blob(blob(POLICY)) == POLICY

    await player.call("SET", keys.blob(blob(POLICY).sha256), b"All goods are gone.", "KEEPTTL")
    with pytest.raises(BrokerError, match=r"policy\.md in Redis is damaged"):
        await catalog_store.blob(blob(POLICY))
    with pytest.raises(BrokerError, match=r"faq\.md is no longer in Redis"):
        await catalog_store.blob(blob(FAQ, "faq.md"))


async def test_a_document_may_be_any_bytes(catalog_store: CatalogStore, player: Hands) -> None:
    content = bytes(range(256)) * 100
    await publish(catalog_store, "one", content)

    assert await catalog_store.blob(blob(content)) == content


async def test_publications_are_announced(catalog_store: CatalogStore, player: Hands) -> None:
    pubsub = player.connection.client.pubsub()
    async with pubsub:
        await pubsub.subscribe(player.keys.published)
        await pubsub.get_message(timeout=40)
        await publish(catalog_store, "two", FAQ)
        message = await pubsub.get_message(timeout=40)

    assert message is not None
    assert message["data"] == b"two"
