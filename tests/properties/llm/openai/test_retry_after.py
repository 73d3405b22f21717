"""How long a server wants to be left alone: every spelling, and nothing that makes no sense."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from swarm.llm.openai.retry_after import LONGEST, exhausted, retry_after
from tests.unit.llm.openai.test_retry_after import NOW

times = st.text(alphabet='0123456789.-+:;=,TZ smhdrt"', max_size=25) | st.text(max_size=30)
names = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens", "ratelimit",
     "ratelimit-reset", "anthropic-ratelimit-tokens-reset"]
)  # fmt: skip


@given(st.dictionaries(names, times), times, st.sampled_from(["try again in {}", '{{"retryDelay": "{}"}}', "{}"]))
def test_whatever_is_said_a_wait_is_none_or_between_nothing_and_a_day(
    headers: dict[str, str], text: str, around: str
) -> None:
    asked, used_up = retry_after(headers, around.format(text), NOW), exhausted(headers, NOW)

    assert asked is None or (math.isfinite(asked) and 0 <= asked <= LONGEST)
    assert 0 <= used_up <= LONGEST
