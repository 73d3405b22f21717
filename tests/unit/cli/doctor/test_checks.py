"""What a doctor makes of facts: each fault is found, at its level, with a remedy; what is sound is said to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swarm.broker.redis_health import RedisHealth
from swarm.broker.running_workers import WorkerInfo
from swarm.broker.snapshot_types import Breaker, Memory, memory_concerns
from swarm.cli.doctor import catalog, redis
from swarm.cli.doctor.env_names import KNOWN, strangers
from swarm.cli.doctor.findings import bad, counted, good, in_order, raised, warning
from swarm.errors import BadInput, ModelUnavailable
from swarm.settings import Settings
from tests.unit.cli.doctor.findings import a_card, levels, levels_of, short

ROUTES = ("advance", "plan", "answer")


# -- findings ----------------------------------------------------------------------------------------------------


def test_an_error_is_a_finding_with_its_own_remedy() -> None:
    assert raised("catalog", BadInput("a.md", "kind is missing", "choose one")) == bad(
        "catalog", "a.md: kind is missing", "choose one"
    )
    assert raised("redis", ModelUnavailable("it is gone; look for it")) == bad("redis", "it is gone", "look for it")
    assert raised("redis", ModelUnavailable("it is gone"), "do something").remedy == "do something"


def test_findings_come_in_the_order_of_their_groups_and_are_counted() -> None:
    found = [good("catalog", "c"), bad("settings", "s", "r"), warning("redis", "r", "r"), good("settings", "t")]

    assert [each.text for each in in_order(found)] == ["s", "t", "r", "c"]
    assert counted(found) == {"good": 2, "warning": 1, "bad": 1}


# -- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("SWARM_PLANER", "did you mean SWARM_PLANNER?"),
        ("swarm_planner", "did you mean SWARM_PLANNER?"),
        ("SWARM_REDIS", "did you mean SWARM_REDIS_URL?"),
        ("SWARMPLANNER", "did you mean SWARM_PLANNER?"),
        ("OPENAI_API_BASE", "did you mean OPENAI_BASE_URL?"),
        ("SWARM_ENDPOINT_OPENAI_KEY", "did you mean OPENAI_API_KEY?"),
        ("SWARM_ENDPOINT_X_KEY", "set SWARM_ENDPOINT_X_URL, too"),
        (
            "SWARM_ENDPOINT_MY_BOXX_KEY",
            "did you mean SWARM_ENDPOINT_MY_BOX_KEY? Else set SWARM_ENDPOINT_MY_BOXX_URL, too",
        ),
        ("SWARM_COLOUR_OF_THE_SKY", "unset it, or correct its name; see: swarm --help"),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_what_was_meant(name: str, remedy: str) -> None:
    assert short(strangers([name, "PATH"], ["my-box", "openai"])) == [
        f"warning {name} is set, but nothing reads it -> {remedy}"
    ]


def test_what_is_read_and_what_is_no_matter_of_ours_is_passed_over() -> None:
    ours = [*KNOWN, "SWARM_ENDPOINT_MY_BOX_URL", "SWARM_ENDPOINT_MY_BOX_KEY", "SWARM_SPECIAL", "SWARM_TEST_REDIS"]
    kubernetes = ["SWARM_REDIS_SERVICE_HOST", "SWARM_REDIS_PORT_6379_TCP_ADDR", "SWARM_PORT"]

    assert list(strangers([*ours, *kubernetes, "PATH", "HOME", "OPENAI_ORG_ID"], ["my-box"], ["SWARM_SPECIAL"])) == []
    assert list(strangers(["OPENAI_API_BASE", "OPENAI_BASE_URL"], [])) == []


# -- Redis -------------------------------------------------------------------------------------------------------

SOUND = Memory(version="7.2.4", role="master", used=10, policy="noeviction", append_only=True)
WELL = RedisHealth(SOUND, "everysec", 0.0002, 0.1)


def looked(memory: dict[str, Any] | None = None, settings: Settings | None = None, **vitals: Any) -> list[str]:
    found = replace(WELL, memory=SOUND.model_copy(update=memory or {}), **vitals)
    return short(redis.redis(found, "redis://r:6379/0", settings or Settings()))


def test_a_sound_redis_is_good_in_every_line() -> None:
    assert looked() == [
        "good redis://r:6379/0 is Redis 7.2.4 and answers in 0.2 ms",
        "good append-only file, appendfsync everysec",
        "good nothing is evicted: noeviction, no maxmemory",
    ]


@pytest.mark.parametrize(
    ("memory", "vitals", "line"),
    [
        ({"version": "6.0.16"}, {}, "bad redis://r:6379/0 is Redis 6.0.16 -> update it to 6.2 or newer"),
        (
            {"version": ""},
            {},
            "warning redis://r:6379/0 does not report its version -> make sure that it is 6.2 or newer",
        ),
        ({"role": "slave"}, {}, "bad redis://r:6379/0 is a replica, which takes no writes -> point SWARM_REDIS_URL at"),
        ({"policy": "allkeys-lru", "most": 100}, {}, "bad maxmemory-policy is allkeys-lru: Redis may drop accepted"),
        ({"most": 100, "used": 95}, {}, "warning 95% of maxmemory is used: new jobs will be refused -> raise it"),
        ({"append_only": False}, {}, "bad no append-only file: a restart of Redis loses every job -> set appendonly"),
        ({"append_only": False, "replicas": 1}, {}, "warning no append-only file"),
        ({"appending": False}, {}, "bad the append-only file cannot be written -> look for disk space"),
        ({}, {"appends": "no"}, "warning appendfsync is no: a crash of its machine may lose half a minute"),
        ({}, {"appends": None}, "warning there is an append-only file; this user may not read how often it reaches"),
        ({}, {"latency": 0.02}, "warning redis://r:6379/0 takes 20 ms to answer -> let workers run nearer to it"),
        ({}, {"ahead": 75.0}, "warning its clock is 75 s ahead of the one here -> let both follow a time server"),
        ({}, {"ahead": -3.0}, "warning its clock is 3 s behind the one here"),
    ],
)
def test_what_is_wrong_with_redis_is_found(memory: dict[str, Any], vitals: dict[str, Any], line: str) -> None:
    found = looked(memory, **vitals)
    wrong = [each for each in found if not each.startswith("good")]

    assert len(wrong) == 1
    assert wrong[0].startswith(line)
    assert " -> " in wrong[0]


def test_a_durable_swarm_wants_a_replica() -> None:
    settings = Settings(durable=True)

    assert (
        "bad SWARM_DURABLE waits for a replica, and none is connected: no job is accepted"
        in looked(settings=settings)[-1]
    )
    assert looked({"replicas": 2}, settings)[-1] == "good 2 replicas connected"


# -- workers and breakers ----------------------------------------------------------------------------------------


def worker(*queues: str, name: str = "w1", version: str = "1.0") -> WorkerInfo:
    return WorkerInfo(worker=name, queues=queues, version=version)


def staff(*workers: WorkerInfo) -> list[str]:
    cards = [a_card("faq"), a_card("tax", implementation="acme:Tax", version="2")]
    return short(redis.staffed(cards, workers, "1.0"))


def test_every_queue_has_somebody() -> None:
    assert staff(worker(*ROUTES), worker("run:faq", "run:tax@2", name="w2")) == [
        "good 2 workers of version 1.0",
        "good 1 of them routes",
        "good 2 of 2 experts are served",
    ]


def test_who_is_missing_is_named_with_what_to_start() -> None:
    assert staff() == ["bad no worker runs -> start one: swarm worker, or swarm up"]
    assert staff(worker("run:faq", "run:tax@1")) == [
        "good 1 worker of version 1.0",
        "bad no running worker routes -> start one: swarm worker",
        "bad no running worker serves tax -> start one: swarm worker --expert tax --import acme:Tax (in version 2)",
        "good 1 of 2 experts are served",
    ]


def test_workers_of_other_versions_and_those_that_have_said_nothing_are_warned_of() -> None:
    mixed = staff(worker(*ROUTES, "run:faq", "run:tax@2"), worker(name="w2", version="0.9"))
    silent = staff(WorkerInfo(worker="w1", version="1.0"))

    assert mixed[0].startswith(
        "warning 1 worker of version 0.9, 1 worker of version 1.0; here it is 1.0 -> update them"
    )
    assert levels_of(silent) == ["good", "warning"]


def test_an_open_breaker_is_bad_until_it_closes() -> None:
    now = 1_000_000
    found = {
        "box/small": Breaker(since=now - 30_000, until=now + 5_000, half_open=False),
        "gone": Breaker(since=now - 90_000, until=now - 1, half_open=True),
    }
    remedy = "look after its server: the breaker closes when it answers"

    assert short(redis.broken(found, now, 3)) == [
        f"bad box/small has failed for 30 s and is left alone; in 5 s one call tries it -> {remedy}",
        f"bad gone has failed for 90 s and is left alone; the next call tries it -> {remedy}",
    ]
    assert short(redis.broken({}, now, 1)) == ["good none is open for the 1 model in use"]
    assert short(redis.broken({}, now, 0)) == []


# -- catalog -----------------------------------------------------------------------------------------------------


def test_a_catalog_is_compared_with_its_folder() -> None:
    cards = {each.name: each for each in (a_card("a"), a_card("b"), a_card("py", implementation="acme:P"))}
    folder = {each.name: each for each in (a_card("a"), a_card("b", version="2"), a_card("c"))}

    assert short(catalog.published("v1", cards, 3, folder, "cards")) == [
        "good v1 is current, with 3 experts",
        "warning cards differs from the published catalog: b is changed, c is new -> swarm experts publish cards",
    ]
    own = {name: card for name, card in cards.items() if name != "py"}
    assert short(catalog.published("v1", cards, 3, own, "cards"))[1:] == ["good cards is the published catalog"]


def test_a_catalog_that_is_not_there_or_not_whole() -> None:
    cards = {"a": a_card("a")}

    assert short(catalog.published(None, {}, 0, None)) == [
        "bad no experts are published -> publish a folder of cards: swarm experts publish DIR"
    ]
    assert levels(catalog.published("v1", {}, 0, None)) == ["bad"]
    assert levels(catalog.published("v1", cards, 2, None)) == ["warning", "good"]


def test_a_disk_that_is_slow_to_sync_is_told_with_the_setting_that_helps() -> None:
    quick, slow = (Memory(append_only=True, delayed_fsync=count) for count in (0, 12))

    assert list(memory_concerns(quick)) == []
    assert [concern.problem for concern in memory_concerns(slow)] == [
        "the disk of Redis is slow: 12 writes waited for an fsync, and might be lost"
    ]
    assert "SWARM_DURABLE=disk" in next(iter(memory_concerns(slow))).remedy
