"""A text that shows more steps than can be read of it is no plan: whatever stands between its calls, none is lost."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import NoDraft
from swarm.planner.parse.draft import read
from tests.unit.planner.parse.test_draft_whole import EXPERTS, TOKENS

separators = st.sampled_from(
    [*TOKENS, ", ", "\n", " and ", "; ", "\n\nThen:\n", " ] ", "}\n", "\n- ", "\n2. ", "\n```\n", " -> ", "\nNext, "]
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str]:
    """A call and how it is written."""
    name, key = draw(st.sampled_from(EXPERTS)), draw(st.sampled_from(["q", "function", "func", "name"]))
    number = draw(st.integers(0, 10**6))
    written = name.replace("_", "\\_") if draw(st.booleans()) else name
    call = f"{written}({key}={number})"
    document = json.dumps({"name": name, "arguments": {key: number}})
    return f"{name} {key} {number}", draw(st.sampled_from([call, f"[{call}]", f"`{call}`", document]))


@given(st.lists(st.tuples(calls(), separators), min_size=2, max_size=5))
def test_of_any_calls_in_any_mixture_all_are_read_or_the_text_is_refused(
    written: list[tuple[tuple[str, str], str]],
) -> None:
    text = "".join(call + separator for (_, call), separator in written)
    try:
        draft = read(text, EXPERTS)
    except NoDraft:
        return
    assert len(draft.steps) >= len({meant for (meant, _), _ in written}), text
