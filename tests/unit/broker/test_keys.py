"""keys.py names every key once; the scripts build the same names by hand, so their constants are held against it."""

from __future__ import annotations

import re

from swarm.broker import catalog_store, keys, snapshot
from swarm.broker.connection import source
from swarm.broker.keys import ETERNAL, Keys
from swarm.broker.snapshot import kind_of

ROW = re.compile(r"^    PREFIX:(\S+) +(hash|stream|string|zset|set|list) ", re.MULTILINE)
BUILT = ("job:x1:live", "job:x1:children", "catalog:x1:blobs", "open:x1", "seen", "queues", "stats")
MEASURED = ("pace", "pace:x1", "waiting", "waiting:x1", "asked", "asked:x1")
MORTAL, _, REST = (keys.__doc__ or "").partition("-- eternal")


def example(name: str) -> str:
    """A row's name with something in its places."""
    return re.sub(r"\b(ID|NAME|VERSION|SHA256|TENANT|DAY|LIMITER|SCOPE)\b", "x1", name)


def test_what_is_listed_as_eternal_may_have_no_lifetime() -> None:
    assert [name for name, _ in ROW.findall(REST) if not ETERNAL.fullmatch(example(name))] == []


def test_what_is_not_listed_as_eternal_must_have_a_lifetime() -> None:
    assert [name for name, _ in ROW.findall(MORTAL) if ETERNAL.fullmatch(example(name))] == []


def test_the_names_are_those_of_the_table() -> None:
    of = Keys("PREFIX")
    made = {
        of.job("x1"), of.log("x1"), of.bodies("x1"), of.deltas("x1"), of.delivery("x1"), of.worker("x1"),
        of.catalog("x1"), of.blob("x1"),
        *(of.queue("x1", part) for part in ("ready", "later", "leases", "wake", "turns")),
        of.open, of.ended, of.current_catalog, of.catalogs, of.dead, of.stats("x1"), of.plans("x1", "x1"),
        of.plan_count, of.money("x1"), of.budget("tenant:x1:x1"), of.budget("day:x1"), of.prices, of.tenants,
        of.letter("x1"), of.limiter("x1"), of.limiter("x1:running"), of.limits, of.parked("x1"), of.held("x1"),
    }  # fmt: skip
    listed = {f"PREFIX:{example(name)}" for name, _ in ROW.findall(keys.__doc__ or "")}
    # these are built in the scripts only
    assert made == listed - {f"PREFIX:{name}" for name in (*BUILT, *MEASURED)}


def test_the_channels_are_listed() -> None:
    of = Keys("PREFIX")
    _, _, channels = (keys.__doc__ or "").partition("Channels:")
    for name in (of.events("JOB"), of.over("JOB"), of.writing("JOB"), of.stop("WORKER"), of.published, of.confirmed):
        assert name in channels


def test_an_experts_queue_is_eternal_too() -> None:
    assert ETERNAL.fullmatch("queue:run:refund-policy_2@1.0:ready")


def test_the_scripts_keep_to_the_same_bounds() -> None:
    library, publish = source("submit"), source("publish")

    assert re.findall(r"tokens\[queue\] < (\d+)", library) == [str(keys.WAKE_TOKENS)]
    assert re.findall(r"LONGEST_PAUSE = (\d+)", library) == [str(snapshot.LONGEST_DEBT_MS)]
    assert re.findall(r"'ZREMRANGEBYRANK', key, 1, -(\d+)", library) == [str(keys.TENANTS_KEPT + 1)]
    assert re.findall(r"HELD_STEP_MS, HELD_MS = (\d+)", library) == [str(keys.HELD_STEP_MS)]
    assert re.findall(r"'ZREMRANGEBYRANK', P \.\. ':ended', 0, -(\d+)", library) == [str(keys.ENDED_KEPT + 1)]
    assert re.findall(r"'ZREMRANGEBYRANK', P \.\. ':catalogs', 0, -(\d+)", publish) == [str(catalog_store.ALIVE + 1)]


def test_every_key_is_of_a_kind_that_is_counted() -> None:
    assert [name for name, _ in ROW.findall(keys.__doc__ or "") if kind_of(example(name)) == "other"] == []
