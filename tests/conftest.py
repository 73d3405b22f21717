"""A real Redis for every test that wants one, a fresh prefix for each, and nothing left behind without a lifetime."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
import redis
import structlog

from swarm.broker.catalog_store import CatalogStore
from swarm.broker.clock import now_ms
from swarm.broker.connection import Connection
from swarm.broker.job_log import JobLog, new_token
from swarm.broker.job_records import Decision, JobState, decode_state
from swarm.broker.keys import ENDED_KEPT, ETERNAL, WAKE_TOKENS, Keys
from swarm.broker.queue import Claim, Queue, record
from swarm.engine.reducer import fold
from swarm.engine.scheduler import AskAnswer, AskPlan, End, Release, Withdraw, decide
from swarm.errors import EmbeddedUnavailable
from swarm.settings import Settings
from swarm.types.answer import Answer
from swarm.types.card import Card, Catalog
from swarm.types.events import OutcomeRecorded, Planned
from swarm.types.plan import Plan, Subtask
from swarm.types.request import Request
from swarm.types.result import Failure, Solution
from tests.captured_output import pytest_runtest_makereport as pytest_runtest_makereport
from tests.clock import HeldClock
from workers.local_redis.binary import find_redis
from workers.local_redis.server import PrivateRedis

# An example may take as long as a busy machine makes it; what must not take long has a test of its own.
# `--hypothesis-profile nightly` looks further: tests that name no number of examples of their own try 1,000.
hypothesis.settings.register_profile(
    "swarm", max_examples=50, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("nightly", hypothesis.settings.get_profile("swarm"), max_examples=1_000)
hypothesis.settings.load_profile("swarm")

T = TypeVar("T")
StartRedis = Callable[..., Awaitable[PrivateRedis]]


def pytest_sessionstart() -> None:
    """A shell ignores Ctrl-C for what runs in its background, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine where no loop of pytest's is in the way."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


# -- a Redis ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for this run, and for the processes that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWARM_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    """The server under test: SWARM_TEST_REDIS, else what embedded mode would start."""
    if named := os.environ.get("SWARM_TEST_REDIS"):
        return Path(named)
    try:
        return find_redis()
    except EmbeddedUnavailable as error:
        pytest.skip(f"no Redis: {error}")


@pytest.fixture(scope="session")
def redis_server(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """One Redis for all tests of this run. It listens on its unix socket only."""
    server = PrivateRedis(tmp_path_factory.mktemp("redis"), binary=redis_binary)
    run(server.start())
    yield server
    run(server.stop())


@pytest.fixture
def redis_url(redis_server: PrivateRedis) -> str:
    return redis_server.url


@pytest.fixture
async def start_redis(redis_binary: Path, tmp_path: Path) -> AsyncIterator[StartRedis]:
    """Starts further servers, of this test alone: `await start_redis(maxmemory="3mb")`."""
    started: list[PrivateRedis] = []

    async def start(config: Mapping[str, str] | None = None, **more: str) -> PrivateRedis:
        server = PrivateRedis(tmp_path / f"redis{len(started)}", {**(config or {}), **more}, binary=redis_binary)
        await server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        await server.stop()


@pytest.fixture(autouse=True)
def nobody_set_up_logging() -> Iterator[None]:
    """Logging is set up for a whole process; what one test sets up must not hide lines from the next."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that had the Redis: every key has a lifetime or may be eternal. Then the Redis is emptied."""
    # before everything else, so that it looks after everything else was closed
    url = request.getfixturevalue("redis_url") if "redis_url" in request.fixturenames else None
    yield
    if url is not None:
        with redis.Redis.from_url(url, decode_responses=True) as client:
            leaks = list(immortal(client))
            client.flushall()
        assert not leaks, f"keys without a lifetime: {leaks}"


def immortal(client: Any) -> Iterator[str]:
    """Keys that have no lifetime and must have one; and eternal ones that outgrew their bound."""
    for key in client.scan_iter(count=1_000):
        prefix, _, name = key.partition(":")
        if client.pttl(key) == -1 and not ETERNAL.fullmatch(name) and not _is_current(client, prefix, name):
            yield key
        if name.endswith(":wake") and client.llen(key) > WAKE_TOKENS:
            yield f"{key} (too long)"
        if name == "ended" and client.zcard(key) > ENDED_KEPT:
            yield f"{key} (too long)"


def _is_current(client: Any, prefix: str, name: str) -> bool:
    """Whether this is a part of the catalog that is current."""
    current = f"catalog:{client.get(f'{prefix}:catalog')}"
    if name in (current, f"{current}:blobs"):
        return True
    kind, _, sha256 = name.partition(":")
    return kind == "blob" and bool(client.sismember(f"{prefix}:{current}:blobs", sha256))


# -- under a prefix of its own -----------------------------------------------------------------------------------


@pytest.fixture
def prefix() -> str:
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def settings(redis_url: str, prefix: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, prefix=prefix, data=tmp_path / "data", max_age=600, retention=600)


@pytest.fixture
async def connection(redis_url: str, prefix: str) -> AsyncIterator[Connection]:
    async with Connection.open(redis_url, prefix) as connection:
        yield connection


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix)


@pytest.fixture
def log(connection: Connection, settings: Settings) -> JobLog:
    return JobLog(connection, settings)


@pytest.fixture
def catalog_store(connection: Connection, settings: Settings) -> CatalogStore:
    return CatalogStore(connection, settings.max_age + settings.retention)


@pytest.fixture
def queue(connection: Connection) -> Callable[..., Queue]:
    """Makes a worker's view of the queues: `queue("w1", lease=0.3)`."""

    def make(worker: str = "w1", lease: float = 1.5) -> Queue:
        return Queue(connection, worker, lease=lease)

    return make


@pytest.fixture
async def hands(connection: Connection, log: JobLog, catalog_store: CatalogStore) -> Hands:
    """A swarm whose processes are played by hand, with experts `a`, `b` and `c` published."""
    hands = Hands(connection, log, catalog_store)
    await hands.publish("a", "b", "c")
    return hands


@pytest.fixture
async def held_clock(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    """The clock of `hands` stands still, so that no pause of this machine counts."""
    hands.clock = HeldClock(hands.connection, monkeypatch)
    await hands.clock.start()
    return hands.clock


# -- the processes, played by hand -------------------------------------------------------------------------------


def a_card(name: str, **more: Any) -> Card:
    fields: dict[str, Any] = {"kind": "instruction", "description": name, "model": "local/template"}
    return Card(name=name, **(fields | more))


def a_request(*subtasks: str, **more: Any) -> Request:
    """A request with a plan: `a_request("t1:a", "t2:b<-t1")`. Without subtasks a planner is asked."""
    found = []
    for text in subtasks:
        head, _, waits = text.partition("<-")
        name, _, expert = head.partition(":")
        depends_on = tuple(waits.split(",")) if waits else ()
        found.append(Subtask(id=name, expert=expert or "a", instruction="do it", depends_on=depends_on))
    return Request(**{"text": "do it"} | more, plan=Plan(subtasks=tuple(found)) if found else None)


class Hands:
    """Does what workers and routers do, one script at a time and in the order that a test wants."""

    def __init__(self, connection: Connection, log: JobLog, catalog_store: CatalogStore) -> None:
        self.connection, self.log, self.catalog_store, self.keys = connection, log, catalog_store, connection.keys
        self.clock: HeldClock | None = None

    def worker(self, name: str = "w1", lease: float | None = None) -> Queue:
        """Without a held clock a lease lasts longer than any pause of this machine."""
        return Queue(self.connection, name, lease=lease or (1.5 if self.clock else 60.0))

    async def call(self, *command: Any) -> Any:
        return await self.connection.call(*command)

    # -- callers

    async def publish(self, *experts: str, version: str = "v1") -> None:
        await self.catalog_store.publish(Catalog(version=version, cards={name: a_card(name) for name in experts}), {})

    async def submit(self, job: str, *subtasks: str, **more: Any) -> bool:
        return await self.log.submit(job, a_request(*subtasks, **more))

    async def begin(self, job: str, *subtasks: str, **more: Any) -> None:
        """Submit, and release what can run."""
        await self.submit(job, *subtasks, **more)
        assert await self.advance(job) == "done"

    # -- workers

    async def claim(self, queue: str, worker: Queue | None = None, free: int = 1) -> list[Claim]:
        return (await (worker or self.worker()).claim([queue], free))[0]

    async def take(self, queue: str, worker: Queue | None = None) -> Claim:
        """The one delivery that must be there."""
        (claim,) = await self.claim(queue, worker)
        return claim

    async def run(self, expert: str, worker: Queue | None = None) -> Claim:
        return await self.take(f"run:{expert}", worker)

    async def solve(self, claim: Claim, text: str = "done", worker: Queue | None = None) -> bool:
        _, subtask, attempt = claim.id.split(":")
        body = Solution(text=text).model_dump_json()
        key = f"{subtask}.{attempt}.{claim.number}"
        event = OutcomeRecorded(subtask=subtask, attempt=int(attempt), body=key, size=len(body))
        data = event.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
        queue = worker or self.worker()
        return await queue.finish(claim, "outcome", data, body_key=key, body=body, solves=subtask)

    async def fail(self, claim: Claim, reason: str = "timeout", *, retryable: bool = True, after: float = 0) -> bool:
        _, subtask, attempt = claim.id.split(":")
        failure = Failure.model_validate(
            {"reason": reason, "message": "it failed", "retryable": retryable, "retry_after": after}
        )
        event = OutcomeRecorded(subtask=subtask, attempt=int(attempt), failure=failure)
        data = event.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)
        return await self.worker().finish(claim, "outcome", data)

    # -- routers

    async def advance(self, job: str, claim: Claim | None = None) -> str:
        """One decision; the claim is made here unless it is given."""
        claim = claim or await self.take("advance")
        assert claim.job == job
        now = decode_state(claim.extra)
        return await self.write(claim, now, self.decision(job, now))

    async def write(self, claim: Claim, now: JobState, decision: Decision, token: str | None = None) -> str:
        return await self.log.advance(claim.job, claim, now.token, token or new_token(), decision)

    def decision(self, job: str, now: JobState) -> Decision:
        """What the scheduler makes of what was read."""
        folded = fold(now.progress, now.events)
        given = None
        if now.request is not None and now.request.plan is not None and not folded.steps:
            given = Planned(subtasks=now.request.plan.united())
        planned = fold(folded, [given]) if given else folded
        actions = decide(planned)
        ending = next((action.ending for action in actions if isinstance(action, End)), None)
        return Decision(
            progress=folded,
            cursor=now.events[-1].seq if now.events else now.cursor,
            regrown=folded.graph is not now.progress.graph,
            events=(given,) if given else (),
            releases=tuple(
                (a, f"run:{a.expert}", record("run", job, a.subtask)) for a in actions if isinstance(a, Release)
            ),
            withdrawals=tuple(a for a in actions if isinstance(a, Withdraw)),
            ask_answer=next((a.number for a in actions if isinstance(a, AskAnswer)), 0),
            ask_plan=next((a.number for a in actions if isinstance(a, AskPlan)), 0),
            answer=Answer(job=job, ending=ending, complete=ending == "completed") if ending else None,
        )

    async def settle(self, job: str) -> None:
        """Advance as long as it is asked for."""
        while claims := await self.claim("advance"):
            assert await self.advance(job, claims[0]) in ("done", "again")

    # -- time, moved by hand

    async def now(self) -> float:
        return await (self.clock.now() if self.clock else now_ms(self.connection))

    async def expire_lease(self, claim: Claim) -> None:
        """Let the claim's lease have run out a moment ago, while Redis was there all the time."""
        await self.call("ZADD", self.keys.queue(claim.queue, "leases"), "XX", await self.now() - 1, claim.id)
        await self.no_grace()

    async def no_grace(self) -> None:
        """As if somebody had just been here, and no outage before."""
        await self.call("HSET", self.keys.prefix + ":seen", "clock", int(await self.now()), "gaps", "")

    async def step_clock(self, seconds: float) -> None:
        """As if the clock of the host of Redis stepped: the scripts find it off against all that is stored."""
        await self.call("HINCRBYFLOAT", self.keys.prefix + ":seen", "ahead", seconds * 1000)

    async def outage(self, seconds: float) -> None:
        """As if nobody had been here for so long."""
        await self.call("HSET", self.keys.prefix + ":seen", "clock", int(await self.now() - seconds * 1000))

    async def gap(self, since: float, till: float) -> None:
        """As if nobody had been here from `since` to `till` seconds ago, and somebody now."""
        now = await self.now()
        gap = f"{int(now - since * 1000)}:{int(now - till * 1000)} "
        seen, former = self.keys.prefix + ":seen", await self.field(self.keys.prefix + ":seen", "gaps") or ""
        await self.call("HSET", seen, "clock", int(now), "gaps", former + gap)

    async def let_lease_end(self, claim: Claim, seconds_ago: float) -> None:
        """Let a lease end at that time, whatever was meanwhile."""
        end = await self.now() - seconds_ago * 1000
        await self.call("ZADD", self.keys.queue(claim.queue, "leases"), "XX", end, claim.id)

    async def fall_due(self, queue: str, delivery: str) -> None:
        """Let a delayed delivery or a timer be due now."""
        await self.call("ZADD", self.keys.queue(queue, "later"), "XX", await self.now() - 1, delivery)

    # -- looking

    async def stands(self, queue: str) -> dict[str, list[str]]:
        """The deliveries of a queue by where they stand, in order."""
        found = {}
        for part in ("ready", "later", "leases"):
            names = await self.call("ZRANGE", self.keys.queue(queue, part), 0, -1)
            if names:
                found[part] = [name.decode() for name in names]
        return found

    async def score(self, queue: str, part: str, delivery: str) -> float | None:
        score = await self.call("ZSCORE", self.keys.queue(queue, part), delivery)
        return None if score is None else float(score)

    async def history(self, job: str) -> list[str]:
        """The job's log in short: `released t1:1`."""
        events = await self.log.events(job) or []
        return [_short(event) for event in events]

    async def field(self, key: str, name: str) -> str | None:
        value = await self.call("HGET", key, name)
        return None if value is None else value.decode()


def _short(event: Any) -> str:
    match event.type:
        case "released" | "started":
            return f"{event.type} {event.subtask}:{event.attempt}"
        case "outcome":
            how = event.failure.reason if event.failure else "solved"
            return f"{how} {event.subtask}:{event.attempt}"
        case "round_opened":
            return f"round {event.round}"
        case "planned" if event.failure:
            return f"planned {event.failure.reason}"
        case "answered" if event.failure:
            return f"answered {event.failure.reason}"
        case "ended":
            return f"ended {event.ending}"
    return str(event.type)
