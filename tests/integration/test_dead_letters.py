"""What lost its worker too often is kept with all that is known of it, and can be submitted again or dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.broker.dead_letters import DeadLetters
from swarm.broker.keys import DEAD_KEPT
from swarm.broker.queue import MAX_LOST, Claim
from swarm.client.client import SwarmClient
from swarm.errors import BadInput
from swarm.settings import Settings
from swarm.types.events import OutcomeRecorded
from tests.conftest import Hands
from tests.integration.processes import EXPERTS, ROUTER, Fleet, serving, until
from tests.integration.test_cli_jobs import Cli, cli

__all__ = ["cli"]


async def lose(hands: Hands, queue: str, *, error: str = "") -> Claim:
    """Have every worker that takes a delivery lost, or give it up because of `error`."""
    for number in range(MAX_LOST):
        claim = await hands.take(queue, hands.worker(f"w{number + 1}"))
        if error:
            await hands.worker().hand_back([claim], lost=True, why=f"{error} {number + 1}")
        await hands.expire_lease(claim)
    assert await hands.claim(queue) == []
    return claim


async def buried(hands: Hands, job: str, *, error: str = "") -> str:
    """A job whose subtask `t1` has become a dead letter; its name."""
    await hands.begin(job, "t1:a", "t2:b")
    return (await lose(hands, "run:a", error=error)).id


@pytest.fixture
def letters(hands: Hands) -> DeadLetters:
    return DeadLetters(hands.connection, hands.log)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    async with SwarmClient(settings=settings) as client:
        yield client


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_a_letter_keeps_the_payload_who_had_it_and_what_the_log_says_around_it(
    hands: Hands, letters: DeadLetters
) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    await hands.run("b")
    claim = await lose(hands, "run:a")

    letter = await letters.letter("j:t1:1")

    assert (letter.id, letter.job, letter.tenant, letter.queue) == ("j:t1:1", "j", "default", "run:a")
    assert (letter.tries, letter.error, letter.record) == (MAX_LOST, "", claim.record.decode())
    assert letter.reason == "it failed or lost its worker 3 times while it ran"
    assert [(holder.worker, holder.claim) for holder in letter.holders] == [("w1", 1), ("w2", 2), ("w3", 3)]
    assert all(0 < holder.started_at <= holder.lost_at for holder in letter.holders)
    assert [event["type"] for event in letter.trace] == [
        "accepted", "released", "started", "started", "started", "outcome",
    ]  # fmt: skip
    assert [each.model_copy(update={"holders": ()}) for each in await letters.all()] == [
        letter.model_copy(update={"holders": (), "trace": (), "record": ""})
    ]


async def test_the_last_error_of_a_function_of_ours_is_kept_and_told(hands: Hands, letters: DeadLetters) -> None:
    name = await buried(hands, "j", error="ValueError: no")

    letter = await letters.letter(name)

    assert letter.error == "ValueError: no 3"
    assert [holder.worker for holder in letter.holders] == ["w1", "w2", "w3"]
    outcome = (await hands.log.history("j"))[-1]
    assert isinstance(outcome, OutcomeRecorded)
    assert outcome.failure is not None
    assert outcome.failure.message == (
        "it failed or lost its worker 3 times while it ran, at last with ValueError: no 3"
    )


# -- again, and away ---------------------------------------------------------------------------------------------------


async def test_a_retry_submits_the_request_anew_once_and_marks_the_letter(hands: Hands, client: SwarmClient) -> None:
    name = await buried(hands, "j")

    job = await client.retry_dead(name)
    again = await client.retry_dead(name)

    assert job.id == again.id != "j"
    assert (await client.log.request(job.id)) == (await client.log.request("j"))
    assert (await client.dead())[0].retried == job.id
    assert [event.type for event in await client.log.history(job.id)] == ["accepted"]


async def test_a_request_that_is_no_longer_kept_cannot_be_retried(hands: Hands, client: SwarmClient) -> None:
    name = await buried(hands, "j")
    await hands.settle("j")
    await hands.call("DEL", hands.keys.job("j"), hands.keys.log("j"))

    with pytest.raises(BadInput, match=r"request of job j is no longer kept.*swarm dead drop j:t1:1"):
        await client.retry_dead(name)

    assert (await client.dead_letter(name)).trace == ()
    with pytest.raises(BadInput, match="see: swarm dead list"):
        await client.retry_dead("nothing")


async def test_dropping_a_letter_takes_it_off_the_list(hands: Hands, client: SwarmClient) -> None:
    first = await buried(hands, "j1")
    await hands.settle("j1")
    second = await buried(hands, "j2")

    assert await client.drop_dead(first)
    assert not await client.drop_dead(first)

    assert [letter.id for letter in await client.dead()] == [second]
    assert await hands.call("XLEN", hands.keys.dead) == 1
    assert not await hands.call("EXISTS", hands.keys.letter(first))


async def test_a_letter_whose_time_is_over_is_listed_no_more(hands: Hands, client: SwarmClient) -> None:
    await hands.call("XADD", hands.keys.dead, "1-1", "delivery", "old:t1:1", "queue", "run:a", "reason", "long ago")
    first = await buried(hands, "j1")
    assert await hands.call("XLEN", hands.keys.dead) == 1, "the list is cut where letters have no lifetime left"

    await hands.call("DEL", hands.keys.letter(first))
    assert await client.dead() == []


async def test_the_list_is_bounded(hands: Hands) -> None:
    for number in range(DEAD_KEPT):
        await hands.call("XADD", hands.keys.dead, "*", "delivery", f"x{number}", "queue", "run:a", "reason", "-")
    await buried(hands, "j")

    assert await hands.call("XLEN", hands.keys.dead) == DEAD_KEPT


# -- commands ----------------------------------------------------------------------------------------------------------


async def run(call: Callable[..., Any], *args: str, **more: int) -> Any:
    """A command brings an event loop of its own, so it has a thread of its own."""
    return await asyncio.to_thread(call, *args, **more)


async def test_letters_are_listed_shown_retried_and_dropped_by_command(hands: Hands, cli: Cli) -> None:
    name = await buried(hands, "j", error="ValueError: no")

    (listed,) = (await run(cli.json, "dead", "list"))["letters"]
    assert (listed["id"], listed["job"], listed["error"]) == (name, "j", "ValueError: no 3")
    assert not {"record", "trace"} & listed.keys(), "a list of a thousand may not bring a thousand payloads"
    assert name in str(await run(cli, "dead", "list"))
    shown = await run(cli.json, "dead", "show", name)
    assert [event["type"] for event in shown["trace"]][:2] == ["accepted", "released"]
    words = str(await run(cli, "dead", "show", name))
    assert "worker   w1, claim 1" in words
    assert "payload" in words

    retried = await run(cli.json, "dead", "retry", name)
    assert retried["retried"][0]["letter"] == name
    assert json.loads(str(await run(cli, "dead", "retry", "--all", "--json"))) == retried
    assert (await run(cli.error, "dead", "retry", "x", code=2))["type"] == "BadInput"
    await run(cli, "dead", "drop", code=2)
    assert await run(cli, "dead", "drop", name) == f"{name}: dropped\n"
    await run(cli, "dead", "drop", name, code=2)
    assert await run(cli.json, "dead", "drop", "--all") == {"dropped": [], "refused": []}


async def test_letters_of_one_job_are_retried_as_one_and_all_are_dropped_only_if_said(hands: Hands, cli: Cli) -> None:
    await hands.begin("j", "t1:a", "t2:b")
    await lose(hands, "run:a")
    await lose(hands, "run:b")

    retried = (await run(cli.json, "dead", "retry", "--all"))["retried"]
    assert {each["letter"] for each in retried} == {"j:t1:1", "j:t2:1"}
    assert len({each["job"] for each in retried}) == 1
    assert "run:b" in str(await run(cli, "dead", "list"))

    assert (await run(cli.error, "dead", "drop", "--all", code=2))["remedy"] == "add --yes"
    assert len((await run(cli.json, "dead", "list"))["letters"]) == 2
    await run(cli, "dead", "drop", "--all", "--yes")
    assert (await run(cli.json, "dead", "list"))["letters"] == []


async def test_a_letter_can_not_steer_a_terminal_and_a_long_payload_is_shown_whole(hands: Hands, cli: Cli) -> None:
    name = await buried(hands, "j", error="ValueError: \x1b]0;owned\x07\x1b[2J\x9b31m")
    long = json.dumps({"t": None, "f": "run", "a": ["\x1b[31m" + "x" * 1_000_000], "k": {}, "et": 1})
    await hands.call("HSET", hands.keys.letter(name), "record", long)

    listed, shown = str(await run(cli, "dead", "list")), str(await run(cli, "dead", "show", name))
    document = await run(cli.json, "dead", "show", name)

    assert not set(listed + shown) & {"\x1b", "\x07", "\x9b"}
    assert "x" * 1_000_000 in shown
    assert document["record"] == long


# -- real processes ----------------------------------------------------------------------------------------------------


async def test_what_kills_its_workers_is_a_letter_that_names_them(settings: Settings, tmp_path: Path) -> None:
    """Three workers die of it, one after the other; whoever comes next finds that it was one too many."""
    async with Fleet(settings.model_copy(update={"lease": 0.6}), tmp_path) as fleet:
        await fleet.publish()
        victims = [fleet.launch("expert") for _ in range(MAX_LOST)]
        async with SwarmClient(settings=fleet.settings) as client, serving(fleet.settings, roles=ROUTER):
            job = await client.submit("go", expert="poison", tenant="acme")
            await until(lambda: not any(victim.alive for victim in victims), "the end of all of them")
            async with serving(fleet.settings, roles=EXPERTS):
                answer = await job.answer(40)
            (letter,) = await client.dead()
            letter = await client.dead_letter(letter.id)
            again = await client.retry_dead(letter.id)
            await again.cancel()

    assert (answer.ending, answer.missing[0].reason) == ("failed", "poison")
    assert (letter.id, letter.tenant) == (f"{job.id}:t1:1", "acme")
    pids = {f"-{victim.pid}-" for victim in victims}
    assert len(letter.holders) == MAX_LOST
    assert all(any(pid in holder.worker for pid in pids) for holder in letter.holders)
    assert json.loads(letter.record)["f"] == "run"
