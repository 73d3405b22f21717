"""What a doctor makes of facts: each fault is found, at its level, with a remedy; what is sound is said to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.broker.redis_health import RedisHealth
from swarm.broker.running_workers import WorkerInfo
from swarm.broker.snapshot_types import Breaker, Memory, memory_concerns
from swarm.cli.doctor import catalog, endpoints, price_tables, redis
from swarm.cli.doctor.endpoints import Asked
from swarm.cli.doctor.env_names import KNOWN, strangers
from swarm.cli.doctor.findings import Finding, bad, counted, good, in_order, raised, warning
from swarm.errors import BadInput, ModelUnavailable, WrongKey
from swarm.llm.openai.model_list import ListedModel
from swarm.settings import Settings
from swarm.types.card import Card, Limits
from swarm.types.price import Price

TODAY = date(2026, 11, 21)
ROUTES = ("advance", "plan", "answer")


def short(findings: Iterable[Finding]) -> list[str]:
    """`LEVEL text -> remedy`, one for each."""
    return [f"{each.level} {each.text}" + (f" -> {each.remedy}" if each.remedy else "") for each in findings]


def levels(findings: Iterable[Finding]) -> list[str]:
    return [each.level for each in findings]


def a_card(name: str, model: str = "local/template", **more: Any) -> Card:
    return Card(**{"name": name, "kind": "instruction", "description": name, "model": model, "version": "1", **more})


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


@given(st.sets(st.text(max_size=40)))
def test_whatever_the_names_are_every_line_has_a_remedy(names: set[str]) -> None:
    assert all(each.level == "warning" and each.remedy for each in strangers(names, ["box"]))


# -- endpoints and models ----------------------------------------------------------------------------------------


def asked(*offered: ListedModel, **more: Any) -> Asked:
    return Asked("box", "box:80", offered=offered, seconds=0.012, **more)


def judged(model: str, *offered: ListedModel) -> list[str]:
    return short(endpoints.listed({model: ("faq",)}, {"box": asked(*offered)}, TODAY))


def test_models_in_use_are_those_of_cards_their_fallbacks_the_planner_and_the_writer() -> None:
    cards = [a_card("a", "box"), a_card("b"), a_card("c", "box/large", fallback_models=("other/x", "box/large"))]
    settings = Settings(planner="box/small", synthesis="other/x")

    assert endpoints.used(cards, settings, lambda name: "box/small" if name == "box" else name) == {
        "box/small": ("a", "SWARM_PLANNER"),
        "box/large": ("c", "a fallback of c"),
        "other/x": ("a fallback of c", "SWARM_SYNTHESIS"),
    }


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (asked(ListedModel("small")), "good box (box:80) answers in 12 ms, and has 1 model"),
        (
            asked(ListedModel("small"), ListedModel("large"), key="accepted", default="small"),
            "good box (box:80) answers in 12 ms, the key is accepted, and has 2 models, small unless one is named",
        ),
        (
            asked(ListedModel("small"), key="not asked for"),
            "good box (box:80) answers in 12 ms, the key is not asked for here, and has 1 model",
        ),
        (Asked("box", "box:80"), "good box (box:80) is set up"),
        (
            Asked("box", error=WrongKey("box: the key is not known; set SWARM_ENDPOINT_BOX_KEY")),
            "bad box: the key is not known (faq) -> set SWARM_ENDPOINT_BOX_KEY",
        ),
    ],
)
def test_how_an_endpoint_answers(found: Asked, line: str) -> None:
    assert short([endpoints.answering(found, {"box/small": ("faq",), "other/x": ("SWARM_PLANNER",)})]) == [line]


def test_an_endpoint_that_lists_nothing_cannot_tell() -> None:
    users = {"box/small": ("faq",)}
    found = endpoints.answering(asked(), users)

    assert (found.level, found.text) == (
        "warning",
        "box (box:80) answers in 12 ms, but lists no models: cannot tell whether it has box/small",
    )
    assert found.remedy.startswith("check its URL")
    assert list(endpoints.listed(users, {"box": asked()}, TODAY)) == []


@pytest.mark.parametrize("listed", ["small", "small:latest", "models/small"])
def test_a_model_is_listed_in_several_spellings(listed: str) -> None:
    assert judged("box/small", ListedModel(listed, context=8_192)) == [
        "good box/small is listed, 8,192 tokens of context (faq)"
    ]


def test_a_model_that_is_not_listed_is_warned_of_with_those_that_are() -> None:
    assert judged("box/smal", ListedModel("small"), ListedModel("large")) == [
        "warning box/smal is not in the server's list; some servers answer for unlisted names (faq) "
        "-> did you mean box/small? if it is refused, name one that box lists: small, large"
    ]


def test_an_endpoint_without_a_default_model_wants_one_named() -> None:
    assert judged("box", ListedModel("small")) == [
        "bad box is named without a model, and has no default one (faq) "
        "-> name box/MODEL, or set its model in swarm.toml; box lists: small"
    ]


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (-1, "bad", "was shut down on 2026-11-20, says box (faq)"),
        (0, "bad", "was shut down on 2026-11-21"),
        (1, "warning", "will be shut down on 2026-11-22, in 1 day"),
        (90, "warning", "will be shut down on 2027-02-19, in 90 days"),
        (91, "good", "is listed until 2027-02-20"),
    ],
)
def test_a_model_is_warned_of_90_days_before_its_end(days: int, level: str, words: str) -> None:
    ending = ListedModel("small", retires=TODAY + timedelta(days=days))
    (found,) = endpoints.listed({"box/small": ("faq",)}, {"box": asked(ending, ListedModel("new"))}, TODAY)

    assert found.level == level
    assert words in found.text
    assert level == "good" or found.remedy.endswith("box lists: new")


def test_models_of_an_endpoint_that_gave_no_list_are_not_judged() -> None:
    silent = Asked("box", error=ModelUnavailable("box: gone"))

    assert list(endpoints.listed({"box/small": ("faq",), "new/x": ("faq",)}, {"box": silent}, TODAY)) == []


# -- prices and limits -------------------------------------------------------------------------------------------


def a_price(days: int = 1, source: str = "litellm.json", rate: int = 1) -> Price:
    return Price(input=rate, output=rate, source=source, as_of=TODAY - timedelta(days=days))


def table(book: dict[str, Price], *models: str, budgets: tuple[str, ...] = (), refused: bool = True) -> list[str]:
    users = dict.fromkeys(models, ("faq",))
    return short(price_tables.priced(book, {}, users, budgets, refused=refused, today=TODAY))


def test_prices_are_as_old_as_the_newest_import() -> None:
    book = {"small": a_price(90), "old": a_price(400), "set": a_price(1, "set")}
    assert table(book) == ["good 3 prices, the newest import as of 2026-08-23"]

    (found,) = table({"small": a_price(91)})
    assert found.startswith("warning 1 price, the newest import as of 2026-08-22, 91 days ago -> import the public")


def test_a_price_that_was_set_grows_old_unless_it_is_free() -> None:
    old = "warning the price of box/small is as of 2026-01-01 -> check it, and set it again: swarm prices set box/small"
    aged = (TODAY - date(2026, 1, 1)).days

    assert any(line.startswith(old) for line in table({"box/small": a_price(aged, "set")}, "box/small"))
    assert levels_of(table({"box/small": a_price(aged, "set", rate=0)}, "box/small")) == ["good"]


def levels_of(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in lines]


def test_a_model_without_a_price_is_bad_where_a_budget_refuses_it() -> None:
    free = table({"small": a_price()}, "box/small", "box/new")
    refused = table({}, "box/new", budgets=("SWARM_DAY_BUDGET",))
    counted_only = table({}, "box/new", budgets=("SWARM_DAY_BUDGET",), refused=False)

    assert free[1].startswith("warning box/new has no price, so no budget can hold it -> swarm prices import FILE")
    assert refused[0].startswith("bad box/new has no price, and there is a budget (SWARM_DAY_BUDGET): its calls are")
    assert refused[0].endswith("or set SWARM_UNPRICED=count")
    assert levels_of(counted_only) == ["warning"]


def test_a_price_may_stand_with_its_endpoint_and_none_is_wanted_where_no_model_is_asked() -> None:
    users = {"box/small": ("faq",)}
    own = {"box/small": a_price(source="swarm.toml")}

    assert list(price_tables.priced({}, own, users, ["SWARM_DAY_BUDGET"], refused=True, today=TODAY)) == []
    assert table({}) == ["good none, and no model in use costs anything"]


def test_limits_of_what_is_not_there_hold_nothing() -> None:
    limits = {name: Limits(concurrency=1) for name in ("box", "box/small", "box/old", "gone")}

    assert short(price_tables.limited(limits, {"box/small": ("faq",)}, {"box"})) == [
        "warning box/old has limits, and no expert asks it -> correct its name, or: swarm limits drop box/old",
        "warning gone has limits, and no such endpoint is set up -> correct its name, or: swarm limits drop gone",
        "good 2 limits of what is in use",
    ]
    assert levels(price_tables.limited({}, {}, set())) == ["good"]


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
