"""What a doctor finds of endpoints, models, prices and limits."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from swarm.cli.doctor import endpoints, price_tables
from swarm.cli.doctor.endpoints import Asked
from swarm.errors import ModelUnavailable, WrongKey
from swarm.llm.openai.model_list import ListedModel
from swarm.settings import Settings
from swarm.types.card import Limits
from swarm.types.price import Price
from tests.unit.cli.doctor.findings import a_card, levels, levels_of, short

TODAY = date(2026, 11, 21)


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
