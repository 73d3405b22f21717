"""What errors of servers mean: their own words, row by row of the table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from swarm.engine.progress import NOT_AGAIN
from swarm.errors import (
    ContentRefused,
    ContextTooLong,
    ExpertError,
    ModelGone,
    ModelRefused,
    ModelUnavailable,
    QuotaSpent,
    WrongKey,
)
from swarm.llm.openai.error_table import BAD_REQUEST, RULES, ErrorRule, classify, status_of, whole
from swarm.llm.openai.retry_after import retry_after
from tests.unit.llm.openai.error_bodies import REFUSED
from tests.unit.llm.openai.passing_error_bodies import PASSING

WORDED = REFUSED | PASSING
CASES = [(kind, *case) for kind, cases in WORDED.items() for case in cases]


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [(kind, status, body) for kind, _, status, body in CASES],
    ids=[f"{kind}: {server}" for kind, server, *_ in CASES],
)
def test_an_error_is_known_by_the_words_of_its_server(kind: str, status: int, body: Any) -> None:
    # an error inside a 200 comes with the status that it names itself
    named = status_of(body.get("error", body)) if status == 200 else status

    assert classify(named, body).kind == kind
    unwrapped = body["error"] if isinstance(body, dict) and "error" in body else body
    assert classify(named, unwrapped).kind == kind


def test_every_row_of_the_table_is_worded_here() -> None:
    assert WORDED.keys() == {row.kind for row in RULES} | {BAD_REQUEST.kind}
    assert len({row.kind for row in RULES}) == len(RULES)


@pytest.mark.parametrize("row", [row for row in RULES if row.words], ids=lambda row: row.kind)
def test_words_are_looked_for_in_lower_case(row: ErrorRule) -> None:
    assert row.words is not None
    letters = re.sub(r"\\.", "", row.words.pattern)

    assert letters == letters.lower()


EXPECTED: dict[str, tuple[type[ExpertError], str, str]] = {
    "quota": (QuotaSpent, "quota_spent", ""),
    "too large": (ContextTooLong, "too_long", ""),
    "too long": (ContextTooLong, "too_long", ""),
    "content refused": (ContentRefused, "content_refused", ""),
    "wrong key": (WrongKey, "wrong_key", ""),
    "proxy's key": (WrongKey, "wrong_key", ""),
    "forbidden": (ModelRefused, "refused", ""),
    "model gone": (ModelGone, "model_gone", ""),
    "overloaded": (ModelUnavailable, "unavailable", "model"),
    "rate": (ModelUnavailable, "unavailable", ""),
    "timed out": (ModelUnavailable, "unavailable", "model"),
    "conflict": (ModelUnavailable, "unavailable", ""),
    "gateway": (ModelUnavailable, "unavailable", "model"),
    "no origin": (ModelUnavailable, "unavailable", "endpoint"),
    "not there": (ModelRefused, "refused", ""),
    "server error": (ModelUnavailable, "unavailable", "model"),
    "bad request": (ModelRefused, "refused", ""),
}


@pytest.mark.parametrize("row", [*RULES, BAD_REQUEST], ids=lambda row: row.kind)
def test_a_row_says_what_is_raised_and_what_that_means(row: ErrorRule) -> None:
    error = row.raised("box/small: HTTP 400: no", 7.0)

    assert (type(error), error.reason, error.call.health) == EXPECTED[row.kind]
    assert error.retryable is row.retryable is isinstance(error, ModelUnavailable)
    assert error.retry_after == (7.0 if row.retryable else None)
    # only what may pass says anything of health: else a wrong key would make jobs wait instead of telling them
    assert not error.call.health or error.retryable
    assert error.call.elsewhere


def test_what_is_wrong_with_an_endpoint_does_not_keep_a_new_plan_from_going_around_it() -> None:
    assert not {reason for _, reason, _ in EXPECTED.values()} & NOT_AGAIN


def test_an_error_that_is_too_deep_to_be_written_down_is_one_all_the_same() -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"error": deep}

    assert classify(500, deep).kind == "server error"
    assert (whole(deep, 100), retry_after({}, deep, 0)) == ("", None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "x", "code": "429"}, 429),
        ({"message": "x", "code": 400, "type": "server_error"}, 400),
        ({"message": "x", "status": "RESOURCE_EXHAUSTED"}, 429),
        ({"message": "x", "type": "overloaded_error"}, 529),
        ({"message": "x"}, 500),
        ("x", 500),
    ],
)
def test_an_error_inside_a_200_names_its_status_or_is_the_servers_own(error: object, status: int) -> None:
    assert status_of(error) == status
