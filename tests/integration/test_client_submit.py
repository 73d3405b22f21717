"""What `submit` accepts, what it refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from swarm.broker.connection import Connection
from swarm.client.client import SwarmClient
from swarm.errors import (
    BadInput,
    BrokerUnavailable,
    Busy,
    EmptyCatalog,
    InvalidPlan,
    JobConflict,
    JobNotFound,
    UnknownExpert,
)
from swarm.settings import Settings
from swarm.types.base import MAX_TEXT
from swarm.types.plan import Plan
from tests.integration.processes import echo, expert, kinds, publish, serving

ECHO = expert("echo", echo)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    await publish(settings, ECHO)
    async with SwarmClient(settings=settings) as client:
        yield client


async def keys(connection: Connection) -> set[bytes]:
    """All there is, and what the sets of open jobs hold."""
    prefix = connection.keys.prefix
    return set(await connection.call("KEYS", f"{prefix}*")) | set(
        await connection.call("ZRANGE", f"{prefix}:open", 0, -1)
    )


def step(name: str, expert: str = "echo", instruction: str = "x", *depends_on: str) -> dict[str, Any]:
    return {"id": name, "expert": expert, "instruction": instruction, "depends_on": depends_on}


TOO_MANY = [step(f"t{i}") for i in range(10_000)]

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "empty": ({"text": ""}, "text", "empty"),
    "white space": ({"text": " \n\t "}, "text", "empty"),
    "two megabytes": ({"text": "x" * 2_000_000}, "text", "2,000,000 bytes, at most 1,000,000"),
    "two megabytes of umlauts": ({"text": "ä" * 600_000}, "text", "1,200,000 bytes"),
    "a control character": ({"text": "a\x07b"}, "text", "U+0007 at position 1"),
    "a null": ({"text": "a\x00"}, "text", "U+0000"),
    "half a surrogate pair": ({"text": "a\ud83d"}, "text", "not valid Unicode"),
    "an unknown expert": ({"text": "x", "expert": "nobody"}, "expert", "no expert named 'nobody'; known: echo"),
    "an expert that is no name": ({"text": "x", "expert": "No Body"}, "expert", ""),
    "expert and plan": ({"text": "x", "expert": "echo", "plan": [step("a")]}, "request", "exclude each other"),
    "no deadline": ({"text": "x", "deadline": 0}, "deadline", "0"),
    "a deadline of years": ({"text": "x", "deadline": 1e9}, "deadline", "604"),
    "a deadline that is no number": ({"text": "x", "deadline": float("nan")}, "deadline", ""),
    "no attempts": ({"text": "x", "attempts": 0}, "attempts", "1"),
    "an odd tenant": ({"text": "x", "tenant": "a b"}, "tenant", ""),
    "an odd job id": ({"text": "x", "job_id": "a:b"}, "job_id", "no job id"),
    "a job id of nothing": ({"text": "x", "job_id": "--" * 40}, "job_id", "no job id"),
    "an empty plan": ({"text": "x", "plan": []}, "plan", "1"),
    "a plan of words": ({"text": "x", "plan": {"subtasks": "all"}}, "plan", "subtasks"),
    "a cyclic plan": (
        {"text": "x", "plan": [step("a", "echo", "${b}"), step("b", "echo", "${a}")]},
        "plan",
        "a -> b -> a",
    ),
    "a plan that waits for itself": ({"text": "x", "plan": [step("a", "echo", "x", "a")]}, "plan", "a -> a"),
    "a dangling edge": ({"text": "x", "plan": [step("a", "echo", "x", "z")]}, "plan", "depends on 'z'"),
    "a dangling reference": ({"text": "x", "plan": [step("a", "echo", "${z.field}")]}, "plan", "${z.field}"),
    "the same id twice": ({"text": "x", "plan": [step("a"), step("a")]}, "plan", "'a' is used more than once"),
    "ten thousand subtasks": ({"text": "x", "plan": TOO_MANY}, "plan", "10,000 subtasks, at most 1,000"),
    "a plan for an unknown expert": ({"text": "x", "plan": [step("a", "nobody")]}, "expert", "'nobody'"),
    "a plan with a typing error": ({"text": "x", "plan": [step("a") | {"dependson": []}]}, "plan", "dependson"),
    "a control character in a plan": ({"text": "x", "plan": [step("a", "echo", "\x1b[2J")]}, "plan", "U+001B"),
    "an empty instruction": ({"text": "x", "plan": [step("a", "echo", " ")]}, "plan", "empty"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_bad_input_is_refused_with_its_field_and_leaves_nothing(
    client: SwarmClient, connection: Connection, name: str
) -> None:
    options, field, words = REFUSED[name]
    before = await keys(connection)
    with pytest.raises(BadInput) as caught:
        await client.submit(**options)

    assert caught.value.field == field
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1_000
    assert await keys(connection) == before


async def test_what_looks_odd_and_is_sound_is_accepted(client: SwarmClient, settings: Settings) -> None:
    texts = [
        "a\tb\nc\r\n",
        "日本語 👩‍👩‍👧 \u202e",
        "${nothing} $ {{ x }}",
        "'; DROP TABLE jobs; --",
        '{"a": "\\u0000"}',
    ]
    async with serving(settings, ECHO):
        answers = [await client.ask(text, expert="echo", timeout=40) for text in texts]

    assert [answer.ending for answer in answers] == ["completed"] * len(texts)
    assert [answer.text for answer in answers[:2]] == texts[:2]


async def test_the_greatest_text_is_accepted(client: SwarmClient) -> None:
    job = await client.submit("x" * MAX_TEXT, expert="echo")
    assert not await client.log.ended(job.id)


async def test_without_a_catalog_nothing_is_accepted(settings: Settings, connection: Connection) -> None:
    async with SwarmClient(settings=settings) as client:
        with pytest.raises(EmptyCatalog, match="swarm experts publish"):
            await client.submit("hello")
        assert await client.experts() is None

    assert await keys(connection) == set()


async def test_the_experts_can_be_asked_for(client: SwarmClient) -> None:
    catalog = await client.experts()

    assert catalog is not None
    assert list(catalog.cards) == ["echo"]


async def test_an_unknown_expert_is_told_with_those_that_are_known(client: SwarmClient) -> None:
    with pytest.raises(UnknownExpert) as caught:
        await client.submit("x", expert="eco")

    assert (caught.value.name, caught.value.known) == ("eco", ("echo",))


async def test_an_invalid_plan_is_its_own_error(client: SwarmClient) -> None:
    with pytest.raises(InvalidPlan):
        await client.submit("x", plan=[step("a", "echo", "x", "a")])


# -- again


async def test_the_same_call_again_is_the_same_job(client: SwarmClient, settings: Settings) -> None:
    jobs = await asyncio.gather(*(client.submit("hello", expert="echo", job_id="mine") for _ in range(20)))
    async with serving(settings, ECHO):
        answers = await asyncio.gather(*(job.answer(40) for job in jobs))
        after = await (await client.submit("hello", expert="echo", job_id="mine")).answer(40)
    events = await client.log.events("mine") or []

    assert {job.id for job in jobs} == {"mine"}
    assert kinds(events).count("accepted") == 1
    assert kinds(events).count("started") == 1
    assert {answer.text for answer in [*answers, after]} == {"hello"}


async def test_another_request_under_the_same_id_is_a_conflict(client: SwarmClient) -> None:
    await client.submit("hello", expert="echo", job_id="mine")
    with pytest.raises(JobConflict):
        await client.submit("something else", expert="echo", job_id="mine")


async def test_job_ids_that_are_made_sort_by_time_and_differ(client: SwarmClient) -> None:
    jobs = await asyncio.gather(*(client.submit("x", expert="echo") for _ in range(50)))
    assert len({job.id for job in jobs}) == 50


# -- full


async def test_past_the_bound_a_caller_is_told_when_to_come_back(settings: Settings) -> None:
    await publish(settings, ECHO)
    full = settings.model_copy(update={"max_open": 3, "max_open_tenant": 3, "retry_after": 7.0})
    async with SwarmClient(settings=full) as client:
        jobs = [await client.submit("x", expert="echo") for _ in range(3)]
        with pytest.raises(Busy) as caught:
            await client.submit("x", expert="echo")
        async with serving(settings, ECHO):
            await jobs[0].answer(40)
            await client.ask("there is room again", expert="echo", timeout=40)

    assert (caught.value.open_jobs, caught.value.limit, caught.value.retry_after) == (3, 3, 7.0)


async def test_one_tenant_does_not_fill_it_for_another(settings: Settings) -> None:
    await publish(settings, ECHO)
    full = settings.model_copy(update={"max_open_tenant": 2})
    async with SwarmClient(settings=full) as client:
        for _ in range(2):
            await client.submit("x", expert="echo", tenant="loud")
        with pytest.raises(Busy, match="tenant loud"):
            await client.submit("x", expert="echo", tenant="loud")
        await client.submit("x", expert="echo", tenant="quiet")


async def test_by_default_one_tenant_takes_half_of_the_places_at_most(settings: Settings) -> None:
    await publish(settings, ECHO)
    async with SwarmClient(settings=settings.model_copy(update={"max_open": 4})) as client:
        for _ in range(2):
            await client.submit("x", expert="echo", tenant="loud")
        with pytest.raises(Busy, match="2 jobs are open for tenant loud"):
            await client.submit("x", expert="echo", tenant="loud")
        await client.submit("x", expert="echo", tenant="quiet")


# -- looking


async def test_jobs_are_listed_open_ones_first(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, ECHO):
        done = await client.submit("first\nand done", expert="echo", tenant="me")
        await done.answer(40)
    waiting = await client.submit("second " + "x" * 100, plan=Plan.read([step("a")]))
    found = await client.jobs()
    only_open = await client.jobs(ended=False)

    assert [(info.id, info.state) for info in found] == [(waiting.id, "queued"), (done.id, "completed")]
    assert (found[1].text, found[1].tenant) == ("first and done", "me")
    assert (len(found[0].text), found[0].text[-1]) == (60, "…")
    assert [info.id for info in only_open] == [waiting.id]
    assert len(await client.jobs(1)) == 1


async def test_a_job_that_never_was_is_not_found(client: SwarmClient) -> None:
    job = client.job("nobody")
    with pytest.raises(JobNotFound):
        await job.answer(40)
    with pytest.raises(JobNotFound):
        await job.cancel()
    with pytest.raises(JobNotFound):
        async for _ in job.events():
            pass


# -- no Redis


async def test_a_redis_that_is_not_there_is_told_at_once(settings: Settings) -> None:
    async with SwarmClient("redis://127.0.0.1:1/0", settings=settings) as client:
        for call in (client.submit("x"), client.job("a").answer(), client.job("a").cancel(), client.jobs()):
            with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
                await asyncio.wait_for(call, 40)


def test_a_client_without_a_url_says_how_to_give_one(settings: Settings) -> None:
    with pytest.raises(BadInput, match="SWARM_REDIS_URL"):
        SwarmClient(settings=settings.model_copy(update={"redis_url": None}))


def test_a_url_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(BadInput, match="redis://HOST"):
        SwarmClient("http://localhost", settings=settings)
