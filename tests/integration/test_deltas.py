"""Texts while they are written: what is shown, to whom, and what becomes of it when a claim or Redis goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.broker import deltas as module
from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection
from swarm.broker.deltas import KEPT, MAX_SHOWN, PIECE, Delta, DeltaReader, Deltas
from swarm.broker.job_log import JobLog
from swarm.broker.queue import Claim
from swarm.client.client import SwarmClient
from swarm.errors import BadInput, JobNotFound
from swarm.settings import Settings
from tests.conftest import Hands
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import until


@pytest.fixture
async def claim(hands: Hands) -> Claim:
    """The holder of a running subtask of the job `j`."""
    await hands.begin("j", "t1:a")
    return await hands.run("a")


@pytest.fixture
def deltas(connection: Connection) -> Deltas:
    return Deltas(connection)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


async def entries(deltas: Deltas, job: str = "j") -> list[dict[str, str]]:
    found, seen = [], "0-0"
    while page := await deltas.after(job, seen):
        found += [fields for _, fields in page]
        seen = page[-1][0]
    return found


async def text(deltas: Deltas) -> str:
    """What somebody who watched from the beginning sees at the end."""
    shown, views = "", DeltaReader()
    for number, fields in enumerate(await entries(deltas)):
        delta = views.delta(f"{number}-0", fields)
        shown = delta.text if delta.reset else shown + delta.text
    return shown


async def every(client: SwarmClient, after: str = "0-0") -> list[Delta]:
    return [delta async for delta in client.job("j").deltas(after)]


async def end(hands: Hands, claim: Claim) -> None:
    await hands.solve(claim)
    await hands.settle("j")


# -- writing


async def test_what_is_added_can_be_read_in_order_and_says_who_wrote_it(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim, "t1", attempt=2) as writing:
        for word in ("one ", "two ", "drei ß 日本"):
            writing.add(word)

    found = await entries(deltas)
    assert "".join(fields["text"] for fields in found) == "one two drei ß 日本"
    assert {(f["subtask"], f["attempt"], f["claim"]) for f in found} == {("t1", "2", "1")}
    assert [fields["start"] for fields in found] == ["1", *[""] * (len(found) - 1)]


async def test_the_first_piece_goes_at_once_and_the_rest_in_few_entries(
    deltas: Deltas, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 30.0)
    async with deltas.writing(claim) as writing:
        writing.add("first")
        await until(lambda: entries(deltas), "the first piece")
        for _ in range(200):
            writing.add("x")
            await asyncio.sleep(0)

    assert [fields["text"] for fields in await entries(deltas)] == ["first", "x" * 200]


async def test_what_fills_an_entry_does_not_wait_for_its_time(
    deltas: Deltas, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 30.0)
    async with deltas.writing(claim) as writing:
        writing.add("first")
        await until(lambda: entries(deltas), "the first piece")
        writing.add("x" * PIECE)
        await until(lambda: _is(deltas, "first" + "x" * PIECE), "the full entry")
        full = [fields["text"] for fields in await entries(deltas)]

    assert full == ["first", "x" * PIECE]


async def test_much_at_once_is_cut_into_entries_of_bounded_size(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim) as writing:
        writing.add("🙂" * (12 * PIECE))

    found = await entries(deltas)
    assert [len(fields["text"]) for fields in found] == [PIECE] * 12
    assert max(len(fields["text"].encode()) for fields in found) <= 4_000


async def test_a_text_that_starts_anew_voids_what_was_shown(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim) as writing:
        writing.begin()
        writing.add("wrong")
        await until(lambda: entries(deltas), "the first piece")
        writing.begin()
        writing.add("right")

    assert await text(deltas) == "right"


async def test_a_text_that_is_void_and_followed_by_nothing_is_void_too(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim) as writing:
        writing.add("wrong")
        await until(lambda: entries(deltas), "the first piece")
        writing.begin()

    assert await text(deltas) == ""


async def test_a_writer_that_has_nothing_to_say_writes_nothing(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim) as writing:
        writing.begin()
        writing.add("")

    assert await entries(deltas) == []


async def test_no_more_than_a_bounded_part_of_a_text_is_shown(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim) as writing:
        for _ in range(4):
            writing.add("x" * MAX_SHOWN)
        await until(lambda: writing._pending == 0, "everything written")

    assert len(await text(deltas)) == MAX_SHOWN


async def test_the_stream_is_capped_and_lives_as_long_as_the_job(
    deltas: Deltas, claim: Claim, connection: Connection, hands: Hands
) -> None:
    for _ in range(KEPT + 500):
        await connection.script("delta", claim.id, claim.owner, "t1", 1, 1, "", "x", KEPT)
    key = connection.keys.deltas("j")
    lives, job_lives = await asyncio.gather(
        connection.call("PTTL", key), connection.call("PTTL", connection.keys.job("j"))
    )

    assert KEPT <= await connection.call("XLEN", key) < KEPT + 200
    assert lives == pytest.approx(job_lives, abs=60_000)


async def test_only_the_holder_of_the_claim_writes(deltas: Deltas, claim: Claim, hands: Hands) -> None:
    await hands.worker().hand_back([claim])
    again = await hands.run("a")
    async with deltas.writing(claim) as late, deltas.writing(again) as writing:
        late.add("from the one that lost it")
        writing.add("from the one that has it")

    assert await text(deltas) == "from the one that has it"


async def test_after_the_end_nothing_is_written(deltas: Deltas, hands: Hands, claim: Claim) -> None:
    await end(hands, claim)
    async with deltas.writing(claim) as writing:
        writing.add("too late")

    assert await entries(deltas) == []


async def test_a_text_that_is_no_valid_unicode_can_be_shown(deltas: Deltas, claim: Claim) -> None:
    async with deltas.writing(claim) as writing:
        writing.add("half \ud83d")

    assert await text(deltas) == "half ?"


async def test_writing_waits_for_no_redis_and_is_made_up_for_when_it_is_back(
    redis_binary: Path, tmp_path: Path
) -> None:
    redis = OwnRedis(redis_binary, tmp_path / "redis", appendfsync="always")
    async with redis, Connection.open(redis.url, "t") as connection:
        hands = _hands(connection, redis.url)
        await hands.publish("a")
        await hands.begin("j", "t1:a")
        claim = await hands.take("run:a", hands.worker(lease=60))
        deltas = Deltas(connection)
        async with deltas.writing(claim) as writing:
            writing.add("before, ")
            await until(lambda: entries(deltas), "the first piece")
            redis.stop()
            for _ in range(1_000):
                writing.add("x")
            await asyncio.sleep(0.2)
            await redis.start()
            await until(lambda: _is(deltas, "before, " + "x" * 1_000), "the whole text")


def _hands(connection: Connection, url: str) -> Hands:
    settings = Settings(redis_url=url, prefix="t", max_age=600, retention=600)
    return Hands(connection, JobLog(connection, settings), CatalogStore(connection, 1_200))


async def _is(deltas: Deltas, wanted: str) -> bool:
    return await text(deltas) == wanted


async def test_closing_is_bounded_while_redis_is_away(redis_binary: Path, tmp_path: Path) -> None:
    redis = OwnRedis(redis_binary, tmp_path / "redis")
    async with redis, Connection.open(redis.url, "t") as connection:
        claim = Claim(id="j:answer", queue="answer", owner="w:1")
        redis.kill()
        async with asyncio.timeout(40), Deltas(connection).writing(claim) as writing:
            writing.add("nobody hears this")


# -- reading


async def test_a_reader_sees_the_pieces_as_they_come_and_ends_with_the_job(
    client: SwarmClient, deltas: Deltas, hands: Hands, claim: Claim
) -> None:
    seen: list[Delta] = []

    async def read() -> None:
        async for delta in client.job("j").deltas():
            seen.append(delta)

    reading = asyncio.create_task(read())
    async with deltas.writing(claim, "t1") as writing:
        for number, word in enumerate(("one", "two", "three"), start=1):
            writing.add(word)
            await until(lambda: len(seen) == number, f"piece {number}")  # noqa: B023
    await end(hands, claim)
    await asyncio.wait_for(reading, 40)

    assert [delta.text for delta in seen] == ["one", "two", "three"]
    assert {(d.subtask, d.attempt, d.claim, d.reset) for d in seen} == {("t1", 1, 1, False)}


async def test_another_claim_resets_the_view(client: SwarmClient, deltas: Deltas, hands: Hands, claim: Claim) -> None:
    async with deltas.writing(claim, "t1") as writing:
        writing.add("lost")
    await hands.worker().hand_back([claim])
    again = await hands.run("a")
    async with deltas.writing(again, "t1") as writing:
        writing.add("found")
    await end(hands, again)

    assert [(d.text, d.claim, d.reset) for d in await every(client)] == [("lost", 1, False), ("found", 2, True)]


async def test_whoever_comes_late_or_again_goes_on_from_any_piece(
    client: SwarmClient, deltas: Deltas, hands: Hands, claim: Claim
) -> None:
    async with deltas.writing(claim, "t1") as writing:
        writing.add("x" * (5 * PIECE))
    await hands.worker().hand_back([claim])
    again = await hands.run("a")
    async with deltas.writing(again, "t1") as writing:
        writing.add("y")
    await end(hands, again)
    seen = await every(client)

    assert len(seen) == 6
    for at, delta in enumerate(seen):
        assert await every(client, delta.id) == seen[at + 1 :]


async def test_more_pieces_than_one_page_are_all_seen(
    client: SwarmClient, hands: Hands, claim: Claim, connection: Connection
) -> None:
    for number in range(450):
        await connection.script("delta", claim.id, claim.owner, "t1", 1, 1, "", f"{number} ", KEPT)
    await end(hands, claim)

    assert "".join(d.text for d in await every(client)).split() == [str(n) for n in range(450)]


async def test_a_job_without_such_texts_has_none(client: SwarmClient, hands: Hands, claim: Claim) -> None:
    await end(hands, claim)

    assert await asyncio.wait_for(every(client), 40) == []


async def test_an_unknown_job_and_an_id_that_is_none_are_told(client: SwarmClient, redis_url: str) -> None:
    with pytest.raises(JobNotFound):
        await every(client)
    with pytest.raises(BadInput) as caught:
        await every(client, "garbage")
    assert caught.value.field == "after"


async def test_readers_share_one_connection_and_leave_nothing_behind(
    client: SwarmClient, deltas: Deltas, hands: Hands, claim: Claim
) -> None:
    reading = [asyncio.create_task(every(client)) for _ in range(50)]
    await until(lambda: len(client._session.notifications._places) == 2, "everybody in place")
    async with deltas.writing(claim, "t1") as writing:
        writing.add("heard by all")
    await end(hands, claim)
    seen = await asyncio.wait_for(asyncio.gather(*reading), 40)

    assert {"".join(d.text for d in each) for each in seen} == {"heard by all"}
    assert client._session.notifications._places == {}


# -- what a reader must forget


def entry(subtask: str, claim: int, start: str = "") -> dict[str, str]:
    return {"subtask": subtask, "attempt": "1", "claim": str(claim), "start": start, "text": "x"}


@pytest.mark.parametrize(
    ("resumed", "found", "resets"),
    [
        (False, [entry("t1", 1, "1"), entry("t1", 1), entry("t2", 1, "1")], [False, False, False]),
        (False, [entry("t1", 1, "1"), entry("t1", 1, "1"), entry("t1", 1)], [False, True, False]),
        (False, [entry("t1", 1, "1"), entry("t2", 1, "1"), entry("t1", 2, "1")], [False, False, True]),
        # the start of the second was capped away
        (False, [entry("t1", 1), entry("t1", 2), entry("t1", 2)], [False, True, False]),
        (True, [entry("t1", 1), entry("t1", 1)], [False, False]),
        (True, [entry("t1", 2, "1"), entry("t1", 2)], [True, False]),
    ],
)
def test_a_view_is_reset_when_somebody_else_writes_or_the_same_anew(
    resumed: bool, found: list[dict[str, str]], resets: list[bool]
) -> None:
    views = DeltaReader(resumed=resumed)

    assert [views.delta("1-1", fields).reset for fields in found] == resets
