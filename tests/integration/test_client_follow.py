"""Following jobs: every event once and in order, from any place, by many, and over a Redis that comes and goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from swarm.broker import notifications
from swarm.broker.connection import Connection
from swarm.broker.notifications import Notifications
from swarm.client.client import SwarmClient
from swarm.errors import BadInput, WaitTimeout
from swarm.settings import Settings
from swarm.types.events import AnyEvent
from swarm.types.plan import Subtask
from swarm.types.result import Solution
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import echo, expert, kinds, publish, serving, until

ECHO = expert("echo", echo)
NAME = "follower-of-"
CHAIN = [
    {"id": f"t{i}", "expert": "echo", "instruction": "x", "depends_on": [f"t{i - 1}"] if i else []} for i in range(4)
]


class Gate:
    """An expert that the test lets go."""

    def __init__(self) -> None:
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()
        self.expert = expert("gate", self.solve)

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> str:
        self.inside.set()
        await self.go_on.wait()
        return "through"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[SwarmClient]:
    """A client whose connections Redis knows by a name, beside those of workers and of other tests."""
    await publish(settings, ECHO)
    url = f"{settings.redis_url}?client_name={NAME}{settings.prefix}"
    async with SwarmClient(settings=settings.model_copy(update={"redis_url": url})) as client:
        yield client


async def every(events: AsyncIterator[AnyEvent]) -> list[AnyEvent]:
    return [event async for event in events]


# -- complete


async def test_a_follower_sees_what_the_log_holds(client: SwarmClient, settings: Settings) -> None:
    job = await client.submit("go", plan=CHAIN)
    following = asyncio.create_task(every(job.events()))
    async with serving(settings, ECHO):
        seen = await asyncio.wait_for(following, 40)

    assert seen == await client.log.events(job.id)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert kinds(seen)[-1] == "ended"


async def test_whoever_comes_late_sees_it_all(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, ECHO):
        job = await client.submit("go", plan=CHAIN)
        await job.answer(40)
    seen = await asyncio.wait_for(every(job.events()), 40)

    assert kinds(seen).count("outcome") == 4


async def test_events_go_on_from_any_of_them(client: SwarmClient, settings: Settings) -> None:
    async with serving(settings, ECHO):
        job = await client.submit("go", plan=CHAIN)
        await job.answer(40)
    seen = await every(job.events())

    for at, event in enumerate(seen[:-1]):
        assert await asyncio.wait_for(every(job.events(event.id)), 40) == seen[at + 1 :]


async def test_a_follower_that_was_gone_goes_on_where_it_was(client: SwarmClient, settings: Settings) -> None:
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings, gate.expert):
        job = await client.submit("go", expert="gate")
        first: list[AnyEvent] = []
        async for event in job.events():
            first.append(event)
            if event.type == "started":
                break
        gate.go_on.set()
        rest = await asyncio.wait_for(every(job.events(first[-1].id)), 40)

    assert kinds(first + rest) == ["accepted", "planned", "released", "started", "outcome", "ended"]


async def test_more_events_than_one_page_are_all_seen(client: SwarmClient, settings: Settings) -> None:
    plan = [{"id": f"t{i}", "expert": "echo", "instruction": "x"} for i in range(500)]
    async with serving(settings, ECHO):
        job = await client.submit("go", plan=plan)
        seen = await asyncio.wait_for(every(job.events()), 40)

    assert len(seen) == 1_503
    assert [event.seq for event in seen] == list(range(1, 1_504))


# -- many


async def test_two_hundred_jobs_are_followed_on_one_connection(
    client: SwarmClient, settings: Settings, connection: Connection
) -> None:
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings.model_copy(update={"slots": 200}), gate.expert):
        await gate_open(client, gate)
        before = await connections(connection)
        jobs = await asyncio.gather(*(client.submit("go", expert="gate") for _ in range(200)))
        following = [asyncio.create_task(every(job.events())) for job in jobs]
        answers = [asyncio.create_task(job.answer(40)) for job in jobs]
        await until(lambda: len(client._session.notifications._places) == 400, "all followers in their places")
        during = await connections(connection)
        gate.go_on.set()
        seen = await asyncio.wait_for(asyncio.gather(*following), 40)
        texts = {answer.text for answer in await asyncio.gather(*answers)}

    assert during - before <= 1
    assert {kinds(events)[-1] for events in seen} == {"ended"}
    assert {len(events) for events in seen} == {6}
    assert texts == {"through"}


async def gate_open(client: SwarmClient, gate: Gate) -> None:
    """One job from end to end, so that every connection of submitting and waiting is there."""
    gate.go_on.set()
    await client.ask("warm up", expert="gate", timeout=40)
    gate.go_on.clear()


async def connections(connection: Connection) -> int:
    """How many the client has."""
    name = f" name={NAME}{connection.keys.prefix} ".encode()
    return sum(name in line for line in (await connection.call("CLIENT", "LIST")).splitlines())


async def test_a_close_while_jobs_are_followed_leaves_no_connection(
    client: SwarmClient, settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "LOOK_AGAIN", 0.1)
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings, gate.expert):
        await gate_open(client, gate)
        gate.inside.clear()
        job = await client.submit("go", expert="gate")
        await gate.inside.wait()
        following, answer = asyncio.create_task(every(job.events())), asyncio.create_task(job.answer(40))
        await until(lambda: len(client._session.notifications._places) == 2, "both followers in their places")
        during = await connections(connection)
        await client.aclose()
        gate.go_on.set()
        seen, answered = await following, await answer
        await client.aclose()
        await until(lambda: _none_left(connection), "every connection of the client closed")

    assert during > 0
    assert (kinds(seen)[-1], answered.text) == ("ended", "through")


async def _none_left(connection: Connection) -> bool:
    return await connections(connection) == 0


async def test_many_wait_for_one_job(client: SwarmClient, settings: Settings) -> None:
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings, gate.expert):
        job = await client.submit("go", expert="gate")
        waiting = [asyncio.create_task(job.answer(40)) for _ in range(50)]
        await gate.inside.wait()
        gate.go_on.set()
        answers = await asyncio.gather(*waiting)

    assert {answer.text for answer in answers} == {"through"}


async def test_whoever_joins_others_in_waiting_looks_at_once(
    client: SwarmClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody waits already and has not left yet, and the job has ended: the news were before the newcomer."""
    monkeypatch.setattr("swarm.broker.notifications.LOOK_AGAIN", 3_600.0)
    async with serving(settings, ECHO):
        job = await client.submit("hello", expert="echo")
        await job.answer(40)
    async with client._session.notifications.place(client._session.connection.keys.over(job.id)) as somebody:
        await somebody.news()
        answer = await job.answer(40)

    assert answer.text == "hello"


# -- patience


async def test_patience_ends_and_the_job_goes_on(client: SwarmClient, settings: Settings) -> None:
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings, gate.expert):
        job = await client.submit("go", expert="gate")
        with pytest.raises(WaitTimeout) as caught:
            await job.answer(0.2)
        gate.go_on.set()
        answer = await job.answer(40)

    assert (caught.value.job_id, caught.value.seconds) == (job.id, 0.2)
    assert answer.complete


async def test_a_cancel_that_no_router_takes_stays_asked_for(client: SwarmClient, settings: Settings) -> None:
    job = await client.submit("hello", expert="echo")
    with pytest.raises(WaitTimeout):
        await job.cancel(timeout=0.2)
    async with serving(settings, ECHO):
        answer = await job.answer(40)

    assert answer.ending == "cancelled"


async def test_a_client_can_be_closed_while_it_waits(settings: Settings, client: SwarmClient) -> None:
    job = await client.submit("hello", expert="echo")
    async with SwarmClient(settings=settings) as other:
        waiting = asyncio.create_task(other.job(job.id).answer())
        await until(lambda: other._session.notifications._places, "somebody waiting")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()


async def test_waits_that_time_out_while_subscribing_leave_no_place_behind(
    client: SwarmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await client.submit("hello", expert="echo")
    follower = client._session.notifications
    subscribe = follower._subscribe

    async def slowly(name: str) -> None:
        await asyncio.sleep(0.2)
        await subscribe(name)

    monkeypatch.setattr(follower, "_subscribe", slowly)
    waits = [client.job(name).answer(0.02) for name in (job.id, job.id, *(f"j{i}" for i in range(20)))]
    ended = await asyncio.gather(*waits, return_exceptions=True)

    # the second to wait for a job need not subscribe; it waits for the job itself
    assert {type(each) for each in ended} == {WaitTimeout}
    assert follower._places == {}


async def test_who_comes_second_while_the_first_still_subscribes_is_told_at_once(
    client: SwarmClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings, ECHO):
        job = await client.submit("hello", expert="echo")
        await job.answer(40)
    stuck = asyncio.Event()
    monkeypatch.setattr("swarm.broker.notifications.LOOK_AGAIN", 3_600.0)

    async def never(name: str) -> None:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(client._session.notifications, "_subscribe", never)
    first = asyncio.create_task(job.answer(40))
    await stuck.wait()
    answer = await job.answer(40)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert answer.text == "hello"
    assert client._session.notifications._places == {}


# -- what is no id


@pytest.mark.parametrize("name", ["../x", "", "a b", "x" * 65, "a:b", "a\n", 5, None])
async def test_what_can_be_no_job_id_is_bad_input(client: SwarmClient, name: Any) -> None:
    with pytest.raises(BadInput) as caught:
        client.job(name)

    assert caught.value.field == "job_id"


@pytest.mark.parametrize("after", ["garbage", "", "1", "1-2-3", "-", "(1-1", 5])
async def test_what_can_be_no_event_id_is_bad_input(client: SwarmClient, after: Any) -> None:
    job = await client.submit("hello", expert="echo")
    with pytest.raises(BadInput) as caught:
        await every(job.events(after=after))

    assert caught.value.field == "after"


# -- a Redis that comes and goes


@pytest.fixture
def own_redis(redis_binary: Path, tmp_path: Path) -> OwnRedis:
    return OwnRedis(redis_binary, tmp_path / "redis", appendfsync="always")


@pytest.fixture
async def own_settings(own_redis: OwnRedis) -> AsyncIterator[Settings]:
    settings = Settings(redis_url=own_redis.url, prefix="t", max_age=600, retention=600)
    async with own_redis:
        await publish(settings, ECHO)
        yield settings


async def test_followers_survive_a_restart_of_redis(own_redis: OwnRedis, own_settings: Settings) -> None:
    gate = Gate()
    await publish(own_settings, gate.expert)
    async with SwarmClient(settings=own_settings) as client, serving(own_settings, gate.expert):
        job = await client.submit("go", expert="gate")
        following = asyncio.create_task(every(job.events()))
        waiting = asyncio.create_task(job.answer(40))
        await gate.inside.wait()
        own_redis.stop()
        gate.go_on.set()
        await until(lambda: client._session.notifications._channel is None, "a follower that knows")
        await own_redis.start()
        answer = await waiting
        seen = await asyncio.wait_for(following, 40)

    assert answer.text == "through"
    assert kinds(seen) == ["accepted", "planned", "released", "started", "outcome", "ended"]


async def test_a_client_that_was_idle_over_a_restart_goes_on(own_redis: OwnRedis, own_settings: Settings) -> None:
    async with SwarmClient(settings=own_settings) as client, serving(own_settings, ECHO):
        first = await client.ask("before", expert="echo", timeout=40)
        own_redis.stop()
        await own_redis.start()
        second = await client.ask("after", expert="echo", timeout=40)

    assert (first.text, second.text) == ("before", "after")


async def test_a_redis_that_takes_connections_and_says_nothing_holds_no_follower_up() -> None:
    """As one does that hangs; sentinels may name it for half a minute, and only then another."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        follower = Notifications(f"redis://:sesame@127.0.0.1:{silent.getsockname()[1]}/0")
        async with asyncio.timeout(40), follower.place("t:over:j") as place:
            told = await place.news()
        await follower.aclose()

    assert told == b"", "it is time to look, and to learn what is wrong"


async def test_a_log_that_was_rolled_back_is_told_and_read_anew(
    client: SwarmClient, settings: Settings, connection: Connection
) -> None:
    """As after a failover to a replica that had not heard of the last event."""
    gate = Gate()
    await publish(settings, gate.expert)
    async with serving(settings, gate.expert):
        job = await client.submit("go", expert="gate")
        await gate.inside.wait()
        events = await client.log.events(job.id) or []
        key = connection.keys.log(job.id)
        await connection.call("XDEL", key, events[-1].id)
        await connection.call("HINCRBY", connection.keys.job(job.id), "seq", -1)
        following = asyncio.create_task(every(job.events(events[-1].id)))
        await until(lambda: client._session.notifications._places, "the follower in its place")
        gate.go_on.set()
        seen = await asyncio.wait_for(following, 40)

    assert kinds(seen) == ["reset", "accepted", "planned", "released", "outcome", "ended"]
    assert [event.seq for event in seen[1:]] == [1, 2, 3, 4, 5]
