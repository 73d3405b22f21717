"""How long a server wants to be left alone: every spelling, and nothing that makes no sense."""

from __future__ import annotations

import pytest

from swarm.llm.openai.retry_after import LONGEST, exhausted, retry_after

NOW = 1_760_000_000.0
"""2025-10-09 08:53:20 UTC."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "Thu, 09 Oct 2025 08:53:50 GMT"}, 30),
        ({"retry-after": "Thu, 09 Oct 2025 08:00:00 GMT"}, 0),
        ({"retry-after": "1760000012"}, 12),
        ({"retry-after": "30s"}, 30),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"llm_provider-retry-after": "3"}, 3),
        ({"llm_provider-retry-after-ms": "300"}, 0.3),
        ({"retry-after": "2", "x-ratelimit-reset-requests": "6m0s"}, 2),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-reset": "1760000005000"}, 5),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "45"}, 45),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"ratelimit": '"minute";r=0;t=17'}, 17),
        ({"ratelimit": '"minute";r=3;t=17, "day";r=0;t=900'}, 900),
        ({"ratelimit-policy": '"minute";q=100;w=60'}, None),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2025-10-09T08:53:40Z",
            },
            20,
        ),
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2025-10-09T10:53:25+02:00",
            },
            5,
        ),
        ({}, None),
    ],
)  # fmt: skip
def test_headers_say_how_long_in_many_ways(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, "", NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ("Rate limit reached for requests. Limit: 3 / min. Please try again in 20s.", 20),
        ("Please try again in 1.2s. Visit https://example.com to learn more.", 1.2),
        ("Rate limit reached for model `x` on tokens per minute (TPM). Please try again in 20ms.", 0.02),
        ("on tokens per day (TPD): Limit 100000, Used 99336. Please try again in 7m12.672s.", 432.672),
        ("have exceeded token rate limit of your current pricing tier. Please retry after 26 seconds.", 26),
        ("No deployments available for selected model, Try again in 60 seconds. Passed model=small.", 60),
        ("Please retry your request after 1 minute and 5 seconds", 65),
        ("Please retry in 34.074824224s.", 34.074824224),
        ({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}, 34),
        ([{"error": {"details": [{"retryDelay": "0.5s"}]}}], 0.5),
        ({"message": '{"error": {"details": [{"retryDelay": "6m0s"}]}}'}, 360),
        ({"retry_after": 12}, 12),
        ({"retry_after_ms": 1500}, 1.5),
        ({"message": "retry after a while"}, None),
        ({"message": "wait, there is more"}, None),
        (None, None),
    ],
)
def test_a_body_says_how_long_in_a_field_or_in_words(body: object, seconds: float | None) -> None:
    assert retry_after({}, body, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_a_header_goes_before_the_body_and_the_body_before_what_limits_say() -> None:
    limits = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}

    assert retry_after({"retry-after": "1"} | limits, "try again in 2s", NOW) == 1
    assert retry_after(limits, "try again in 2s", NOW) == 2
    assert retry_after(limits, "", NOW) == 360


@pytest.mark.parametrize("value", ["inf", "nan", "-5", "1e9", "soon", "", "0x10", "٣", "1;2", "12 parsecs", "9" * 60])
def test_nonsense_is_no_time(value: str) -> None:
    assert retry_after({"retry-after": value, "retry-after-ms": value}, "", NOW) is None


@pytest.mark.parametrize("value", ["9" * 39, "999999d", "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z"])
def test_what_is_huge_is_a_day(value: str) -> None:
    assert retry_after({"retry-after": value}, "", NOW) == LONGEST
    assert exhausted({"ratelimit-remaining": "0", "ratelimit-reset": value}, NOW) == LONGEST


# -- limits that are used up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1m30.5s", 90.5), ("1h2m3s", 3723), ("1d", 86_400), ("7", 7),
        ("0.25", 0.25), ("1760000012", 12), ("1760000012.5", 12.5), ("1760000012000", 12), ("1759999999", 0),
        ("2m", 120), ("soon", 0), ("", 0), ("-5", 0), ("2025-10-09T08:53:21Z", 1),
    ],
)  # fmt: skip
def test_headers_say_when_a_used_up_limit_is_fresh_again(reset: str, seconds: float) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    assert exhausted(headers, NOW) == pytest.approx(seconds)


def test_the_later_of_two_used_up_limits_counts_and_one_with_something_left_does_not() -> None:
    both = {
        "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s",
    }  # fmt: skip
    assert exhausted(both, NOW) == 9
    assert exhausted(both | {"x-ratelimit-remaining-tokens": "10"}, NOW) == 1
    assert exhausted({f"llm_provider-{name}": value for name, value in both.items()}, NOW) == 9
    assert exhausted({"x-ratelimit-reset-requests": "1s"}, NOW) == 0
    assert exhausted({"ratelimit": '"minute";r=0;t=17'}, NOW) == 17
