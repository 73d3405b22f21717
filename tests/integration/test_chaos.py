"""A short seed of the chaos run, as `python -m tests.chaos` plays it: nothing is lost, doubled or overspent."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from swarm.broker.connection import Connection
from swarm.errors import BrokerUnavailable
from tests.chaos.proxy import Proxy
from tests.chaos.shims import Shim
from tests.integration.own_redis import OwnRedis
from tests.integration.processes import ROOT, until

WALL = 150
"""Seconds; a run takes half a minute where nothing else goes on."""

pytestmark = pytest.mark.usefixtures("redis_binary")


@asynccontextmanager
async def chaos(*options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.chaos", *options]
    process = await create_subprocess_exec(*command, stdout=PIPE, cwd=ROOT, env=environ)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@pytest.mark.timeout(WALL)
async def test_no_job_is_lost_or_ends_twice_while_everything_breaks() -> None:
    async with chaos("--jobs", "40", "--seed", "1", "--json") as process:
        out, _ = await process.communicate()

    told: dict[str, Any] = json.loads(out)
    assert told["found"] == {}
    assert process.returncode == 0
    assert told["accepted"] + sum(told["refused"].values()) == 40
    assert sum(told["endings"].values()) == told["accepted"]
    assert {"kill", "net lose"} & set(told["faults"])
    assert told["calls"]["faults"]


@pytest.mark.timeout(WALL)
async def test_parts_that_fail_without_a_fault_are_found() -> None:
    async with chaos("--jobs", "12", "--seed", "1", "--faults", "", "--mutate", "failing", "--json") as process:
        out, _ = await process.communicate()

    assert process.returncode == 1
    assert "unexplained_failure" in json.loads(out)["found"]


async def test_ctrl_c_leaves_no_process_behind() -> None:
    async with chaos("--jobs", "500", "--seed", "1") as process:
        own = psutil.Process(process.pid)
        await until(lambda: len(own.children(recursive=True)) >= 10, "Redis, the model and eight workers")
        started = own.children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        _, alive = await asyncio.to_thread(psutil.wait_procs, started, 10)

    assert alive == []


async def test_a_lost_reply_is_that_of_a_command_that_was_carried_out(redis_binary: Path, tmp_path: Path) -> None:
    async with (
        OwnRedis(redis_binary, tmp_path) as redis,
        Proxy(redis.port) as proxy,
        Connection.open(proxy.url) as through,
        Connection.open(redis.url) as direct,
    ):
        await through.call("PING")
        proxy.lose(proxy.some(random.Random(1), 1.0))
        with pytest.raises(BrokerUnavailable):
            await through.call("INCR", "count")

        assert await direct.call("GET", "count") == b"1"
        assert await through.call("INCR", "count") == 2, "the next connection is whole"


async def test_a_reset_ends_a_connection_and_a_half_open_one_says_nothing(redis_binary: Path, tmp_path: Path) -> None:
    async with OwnRedis(redis_binary, tmp_path) as redis, Proxy(redis.port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
        proxy.half_open(proxy.links)
        writer.write(b"PING\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readline()
        proxy.reset(proxy.links)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()

        proxy.fuses = [1]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"INCR count\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()
        assert proxy.links == []


async def test_a_torn_answer_reaches_its_reader_by_half_and_then_a_reset(redis_binary: Path, tmp_path: Path) -> None:
    async with OwnRedis(redis_binary, tmp_path) as redis, Proxy(redis.port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"ECHO " + b"x" * 1_000 + b"\r\n")
        assert len(await reader.readexactly(1_009)) == 1_009
        proxy.tear(proxy.links)
        writer.write(b"ECHO " + b"x" * 1_000 + b"\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1_009)
        writer.close()


async def test_the_shim_slows_the_disk_of_a_redis_and_sets_its_clock(redis_binary: Path, tmp_path: Path) -> None:
    shim = Shim.build(tmp_path / "shim")
    if shim is None:
        pytest.skip("there is no C compiler")
    redis = OwnRedis(redis_binary, tmp_path / "redis", appendfsync="always")
    redis.environ = shim.environ
    async with redis, Connection.open(redis.url) as connection:

        async def is_ahead_by(offset: float) -> bool:
            """Whether its time is between the times of this machine before and after the question, so much later."""
            before = time.time()
            seconds, micros = await connection.call("TIME")
            return before - 0.1 <= int(seconds) + int(micros) / 1e6 - offset <= time.time() + 0.1

        shim.clock(-30.0)
        await until(lambda: is_ahead_by(-30.0), "a clock that is behind")
        shim.clock(0.0)
        await until(lambda: is_ahead_by(0.0), "a clock that is right")

        shim.fsync(0.3)
        begun = time.monotonic()
        await connection.call("SET", "text", "x")
        assert time.monotonic() - begun > 0.3
