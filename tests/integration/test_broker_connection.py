"""What can be wrong with a Redis, said in our words; and what a connection rides through."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.connection import Connection, source
from swarm.broker.job_log import JobLog
from swarm.errors import BadInput, BrokerDenied, BrokerError, BrokerReadOnly, BrokerUnavailable
from swarm.settings import Settings
from tests.conftest import Hands, StartRedis, a_request
from workers.local_redis.server import PrivateRedis


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_refused_port_is_unavailable_and_the_message_names_it() -> None:
    port = free_port()
    async with Connection.open(f"redis://user:secret@127.0.0.1:{port}/0") as connection:
        with pytest.raises(BrokerUnavailable) as caught:
            await JobLog(connection, Settings()).submit("j", a_request("t1:a"))

    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "SWARM_REDIS_URL" in str(caught.value)


async def test_a_socket_that_is_not_there_is_unavailable() -> None:
    async with Connection.open("unix:///nowhere/redis.sock") as connection:
        with pytest.raises(BrokerUnavailable, match="/nowhere/redis"):
            await connection.call("PING")


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost:port", ""])
def test_what_is_no_url_of_a_redis_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match="redis://HOST"):
        Connection.open(url)


async def test_something_else_that_listens_is_an_error_and_not_a_hang() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", port := free_port())
    async with server, Connection.open(f"redis://127.0.0.1:{port}") as connection:
        with pytest.raises(BrokerError):
            await connection.call("PING")


async def test_a_wrong_or_missing_password_is_denied(start_redis: StartRedis) -> None:
    server = await start_redis(requirepass="sesame")
    path = server.url.removeprefix("unix://")

    async with Connection.open(server.url) as connection:
        with pytest.raises(BrokerDenied):
            await JobLog(connection, Settings()).submit("j", a_request("t1:a"))
    async with Connection.open(f"unix://:wrong@{path}") as connection:
        with pytest.raises(BrokerDenied) as caught:
            await connection.call("PING")
        assert "wrong@" not in str(caught.value)
    async with Connection.open(f"unix://:sesame@{path}") as connection:
        assert await connection.call("PING") == b"PONG"


async def test_a_user_without_rights_is_denied(start_redis: StartRedis) -> None:
    server = await start_redis()
    async with Connection.open(server.url) as connection:
        await connection.call("ACL", "SETUSER", "guest", "on", ">guest", "~other:*", "+@all")
    async with Connection.open(f"unix://guest:guest@{server.url.removeprefix('unix://')}") as connection:
        with pytest.raises(BrokerDenied):
            await JobLog(connection, Settings()).submit("j", a_request("t1:a"))


async def test_a_replica_is_read_only_and_nothing_is_written(start_redis: StartRedis) -> None:
    server = await start_redis()
    async with Connection.open(server.url, "p") as connection:
        await Hands(connection, JobLog(connection, Settings()), CatalogStore(connection, 60)).publish("a")
        await connection.call("REPLICAOF", "127.0.0.1", free_port())

        with pytest.raises(BrokerReadOnly, match="primary"):
            await JobLog(connection, Settings()).submit("j", a_request("t1:a"))

        assert not await connection.call("EXISTS", connection.keys.job("j"))


async def test_a_script_cache_that_was_emptied_is_filled_again(hands: Hands) -> None:
    await hands.submit("j1", "t1:a")
    await hands.call("SCRIPT", "FLUSH")

    await hands.submit("j2", "t1:a")

    await hands.call("SCRIPT", "FLUSH")
    advanced, submitted = await asyncio.gather(hands.advance("j1"), hands.submit("j3", "t1:a"))
    assert (advanced, submitted) == ("done", True)


async def test_every_script_is_loaded_as_it_is_named(connection: Connection) -> None:
    from swarm.broker.connection import digest

    for name in ("submit", "claim", "renew", "finish", "advance", "cancel", "hand_back", "publish"):
        assert (await connection.call("SCRIPT", "LOAD", source(name))).decode() == digest(name)


async def test_calls_of_one_turn_travel_together_and_each_gets_its_own_answer(connection: Connection) -> None:
    answers = await asyncio.gather(*(connection.call("ECHO", str(i)) for i in range(1_000)))

    assert answers == [str(i).encode() for i in range(1_000)]
    assert int(dict(_info(await connection.call("INFO", "clients")))["connected_clients"]) == 1


def _info(raw: bytes) -> list[tuple[str, str]]:
    return [(line.split(":")[0], line.split(":")[1]) for line in raw.decode().split("\r\n") if ":" in line]


async def test_an_error_of_one_call_spares_the_others(connection: Connection) -> None:
    answers: list[object] = await asyncio.gather(
        connection.call("ECHO", "1"), connection.call("NONSENSE"), connection.call("ECHO", "2"), return_exceptions=True
    )

    assert answers[::2] == [b"1", b"2"]
    assert isinstance(answers[1], BrokerError)


async def test_a_value_that_cannot_be_sent_fails_its_caller_only(connection: Connection) -> None:
    async with asyncio.timeout(40):
        answers: list[object] = await asyncio.gather(
            connection.call("ECHO", "1"),
            connection.call("ECHO", "\ud800"),
            connection.call("ECHO", None),
            return_exceptions=True,
        )

    assert answers[0] == b"1"
    assert isinstance(answers[1], BadInput)
    assert isinstance(answers[2], TypeError)
    assert await connection.call("ECHO", "3") == b"3"


async def test_a_caller_that_gives_up_leaves_the_answers_of_others_in_order(connection: Connection) -> None:
    impatient = asyncio.create_task(connection.call("BLPOP", f"{connection.keys.prefix}:open", 0.2))
    patient = asyncio.create_task(connection.call("ECHO", "mine"))
    await asyncio.sleep(0.02)
    impatient.cancel()

    assert await patient == b"mine"
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_closing_fails_what_still_waits(redis_url: str) -> None:
    connection = Connection.open(redis_url)
    waiting = asyncio.create_task(connection.call("BLPOP", "swarm:open", 0))
    await asyncio.sleep(0.02)

    await connection.aclose()

    with pytest.raises(BrokerUnavailable):
        await waiting


async def test_a_connection_is_made_again_after_the_server_was_killed_and_restarted(
    start_redis: StartRedis, redis_binary: Path
) -> None:
    port = free_port()
    server = await start_redis(port=str(port), bind="127.0.0.1", appendfsync="always")
    async with Connection.open(f"redis://127.0.0.1:{port}", "p") as connection:
        log = JobLog(connection, Settings())
        await Hands(connection, log, CatalogStore(connection, 60)).publish("a")
        assert await log.submit("j", a_request("t1:a"))
        os.kill(server.pid, signal.SIGKILL)

        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                await connection.call("PING")

        await server.stop()
        async with PrivateRedis(server.data, {"port": str(port), "bind": "127.0.0.1"}, binary=redis_binary):
            assert not await log.submit("j", a_request("t1:a")), "it was accepted, and it is still there"
            assert [event.type for event in await log.events("j") or []] == ["accepted"]


async def test_a_server_that_still_loads_is_unavailable(start_redis: StartRedis, redis_binary: Path) -> None:
    server = await start_redis()
    async with Connection.open(server.url) as connection:
        await asyncio.gather(*(connection.call("SET", f"k{i}", os.urandom(100_000)) for i in range(200)))
        await connection.call("BGREWRITEAOF")
        async with asyncio.timeout(40):
            while b"aof_rewrite_in_progress:0" not in await connection.call("INFO", "persistence"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await server.stop()
    # 5 ms for each key read; every 2 MB it answers others
    slow = PrivateRedis(server.data, {"key-load-delay": "5000"}, binary=redis_binary)
    starting = asyncio.create_task(slow.start())
    seen = ""
    try:
        while not starting.done() and not seen:
            await asyncio.sleep(0.01)
            with suppress(RuntimeError, BrokerUnavailable):
                async with Connection.open(slow.url) as connection:
                    try:
                        await connection.call("GET", "k0")
                    except BrokerUnavailable as error:
                        seen = str(error) if "loading" in str(error).lower() else ""
        await starting
    finally:
        await slow.stop()
    assert seen
