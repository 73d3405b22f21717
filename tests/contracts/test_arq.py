"""What we rely on in arq 0.28, and what nobody may rely on. Read this before moving the pin in pyproject.toml.

`workers/worker.py` keeps arq's form (functions, context, job record, start and stop) and replaces its queue. A stock
arq worker must never be pointed at our queues: the last test shows what it would do to a delivery.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import DeserializationError, deserialize_job_raw, serialize_job
from arq.worker import Function, Worker, func

from swarm.broker.address import open_client
from swarm.broker.keys import ADVANCE, PLAN
from swarm.broker.queue import record
from swarm.settings import Settings
from swarm.types.request import Request
from tests.conftest import Hands
from workers.lane import Lane
from workers.worker import ROUTER_TIMEOUT, SwarmWorker

PARAMETERS = {
    "functions",
    "queue_name",
    "redis_pool",
    "handle_signals",
    "max_jobs",
    "job_timeout",
    "job_serializer",
    "job_deserializer",
    "log_results",
}
"""Of Worker.__init__, those that SwarmWorker passes."""


async def echo(ctx: dict[Any, Any], *args: str) -> tuple[str, ...]:
    return args


@pytest.fixture
async def stock(redis_url: str) -> Any:
    """arq's own worker, made as SwarmWorker makes its base."""
    async with open_client(redis_url, ArqRedis) as pool:
        yield Worker(
            [func(echo, name="echo", timeout=7)],
            queue_name="q",
            redis_pool=pool,  # type: ignore[arg-type]
            handle_signals=False,
            max_jobs=3,
            job_timeout=ROUTER_TIMEOUT,
            job_serializer=_dump,
            job_deserializer=json.loads,
            log_results=False,
        )


@pytest.fixture
async def ours(redis_url: str, settings: Settings) -> Any:
    worker = SwarmWorker(redis_url, settings, [func(echo, name="echo", timeout=7)], [Lane("run", ["run:a"], 3)])
    yield worker
    await worker.close()


# -- the version


def test_arq_is_the_version_that_was_read() -> None:
    assert version("arq").startswith("0.28.")


def test_the_project_pins_that_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert "arq==0.28.*" in project["optional-dependencies"]["worker"]


# -- the worker's form


def test_the_worker_takes_what_we_pass() -> None:
    assert set(inspect.signature(Worker).parameters) >= PARAMETERS


def test_the_worker_registers_functions_by_name(stock: Worker) -> None:
    function = stock.functions["echo"]
    assert isinstance(function, Function)
    assert (function.coroutine, function.timeout_s) == (echo, 7)
    assert func(echo, name="other").timeout_s is None


async def test_the_worker_has_the_attributes_that_we_use(stock: Worker) -> None:
    assert (stock.tasks, stock.job_tasks, stock.main_task) == ({}, {}, None)
    assert (stock.jobs_complete, stock.jobs_failed) == (0, 0)
    assert (stock.on_startup, stock.on_shutdown) == (None, None)
    assert stock.ctx == {}
    assert stock.job_timeout_s == ROUTER_TIMEOUT
    assert stock.job_deserializer is json.loads
    assert stock.loop is asyncio.get_running_loop()


async def test_a_client_of_ours_is_taken_as_its_pool(stock: Worker) -> None:
    assert isinstance(stock.pool, ArqRedis)
    assert stock.pool is stock._pool
    assert stock.redis_settings is None, "else it would connect on its own, with settings of its own"
    assert await stock.pool.ping()


@pytest.mark.parametrize("name", ["main", "close", "async_run"])
def test_what_we_override_or_call_takes_nothing_and_is_awaited(name: str) -> None:
    method = getattr(Worker, name)
    assert inspect.iscoroutinefunction(method)
    assert list(inspect.signature(method).parameters) == ["self"]


async def test_async_run_runs_main_and_leaves_closing_to_us(monkeypatch: pytest.MonkeyPatch, stock: Worker) -> None:
    called = []

    async def main() -> None:
        called.append("main")

    async def close() -> None:
        called.append("close")

    monkeypatch.setattr(stock, "main", main)
    monkeypatch.setattr(stock, "close", close)
    await stock.async_run()

    assert called == ["main"]
    assert stock.main_task is not None


def test_we_override_main_and_close_and_nothing_else() -> None:
    ours = {name for name in vars(SwarmWorker) if not name.startswith("__")}
    assert ours & set(dir(Worker)) == {"main", "close"}


def test_our_attributes_hide_none_of_arqs(stock: Worker) -> None:
    set_by_us = set(re.findall(r"self\.(\w+)(?:, self\.\w+)* = ", inspect.getsource(SwarmWorker.__init__)))
    set_by_us |= set(re.findall(r", self\.(\w+)[^=\n]* = ", inspect.getsource(SwarmWorker.__init__)))

    assert {"name", "queue", "lanes", "_heartbeat", "_stopping"} <= set_by_us
    assert not set_by_us & (set(vars(stock)) | set(dir(Worker)))


async def test_ours_is_made_as_the_stock_one(ours: SwarmWorker, stock: Worker) -> None:
    assert set(vars(ours)) >= set(vars(stock))
    assert ours.max_jobs == 3
    assert ours.functions["echo"].timeout_s == 7


# -- the record


def test_our_record_is_read_by_arq() -> None:
    read = deserialize_job_raw(record("run", "one", "two").encode(), deserializer=json.loads)

    assert list(read[:4]) == ["run", ["one", "two"], {}, None]
    assert isinstance(read[4], int)


def test_our_record_is_what_arq_would_write() -> None:
    ours = json.loads(record("run", "one", "two"))
    theirs = json.loads(serialize_job("run", ("one", "two"), {}, None, ours["et"], serializer=_dump))

    assert ours == theirs
    assert list(ours) == list(theirs)


async def test_the_records_that_scripts_write_are_read_by_arq(hands: Hands) -> None:
    await hands.submit("given", "t1")
    await hands.log.submit("text", Request(text="say it"))
    claims = [await hands.take(ADVANCE), await hands.take(PLAN)]

    read = [deserialize_job_raw(claim.record, deserializer=json.loads) for claim in claims]

    assert [list(call[:4]) for call in read] == [["advance", ["given"], {}, None], ["plan", ["text"], {}, None]]


# -- what nobody may do


async def test_a_stock_worker_would_throw_our_deliveries_away(redis_url: str, hands: Hands) -> None:
    """It finds no record under arq's own key, takes the delivery for expired and removes it: the job would hang."""
    await hands.begin("j1", "t1:a")
    queue = hands.keys.queue("run:a", "ready")
    assert await hands.stands("run:a") == {"ready": ["j1:t1:1"]}

    async with open_client(redis_url, ArqRedis) as pool:
        worker = Worker(
            [func(echo, name="run")],
            queue_name=queue,
            redis_pool=pool,  # type: ignore[arg-type]
            handle_signals=False,
            burst=True,
            poll_delay=0.01,
            job_serializer=_dump,
            job_deserializer=json.loads,
        )
        await worker.async_run()

    assert worker.jobs_failed == 1
    assert await hands.stands("run:a") == {}


def test_a_pickled_record_is_refused_and_not_run(ours: SwarmWorker) -> None:
    """Whoever can write to Redis must not be able to run code in a worker."""
    with pytest.raises(DeserializationError):
        deserialize_job_raw(serialize_job("run", (), {}, None, 0), deserializer=ours.job_deserializer)


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()
