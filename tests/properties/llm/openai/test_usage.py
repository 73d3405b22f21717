"""What a call used, under every server's names, and where none counted, about."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.llm.openai.usage import counted


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "cached_tokens", "reasoning_tokens",
             "cache_read_input_tokens", "prompt_tokens_details", "completion_tokens_details"]
        ),
        st.integers() | st.floats() | st.text(max_size=3) | st.none()
        | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), st.integers() | st.none()),
    )
)  # fmt: skip
def test_whatever_is_told_parts_are_no_more_than_the_whole(told: dict[str, Any]) -> None:
    usage = counted(told)

    assert 0 <= usage.cached_tokens <= usage.input_tokens < 10**9
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens < 10**9
    assert usage.calls == 1
