"""What holds of every text: a draft or a refusal, nothing lost, and not much time."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import NoDraft
from swarm.planner.model.stream_parser import StreamParser
from swarm.planner.parse.draft import Draft, read
from tests.unit.linear import takes_linear_time

NAMES = ["search", "book.table", "Text to Speech", "sum_up"]
words = st.text("abc XYZ,.'\"\\{}[]()#:/é😀\n-0=", max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def plans(draw: st.DrawFn) -> list[dict[str, object]]:
    """Plans in our own format, with texts that are hard to quote."""
    count = draw(st.integers(1, 5))
    return [
        {
            "id": f"t{i + 1}",
            "expert": draw(st.sampled_from(NAMES)),
            "instruction": "do " + draw(words),
            "depends_on": [f"t{other + 1}" for other in range(i) if draw(st.booleans())],
        }
        for i in range(count)
    ]


def tried(text: str | bytes, experts: list[str] | None = None) -> Draft | NoDraft:
    try:
        return read(text, NAMES if experts is None else experts)
    except NoDraft as refused:
        return refused


def said(draft: Draft | NoDraft) -> list[tuple[str, str, str, tuple[str, ...]]]:
    assert isinstance(draft, Draft), draft
    return [(s.id, s.expert, s.instruction, s.depends_on) for s in draft.steps]


def meant(plan: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(s["id"], s["expert"], s["instruction"], tuple(s["depends_on"])) for s in plan]  # type: ignore[arg-type]


SNIPPETS = [
    '"',
    "'",
    "`",
    "```",
    "```json\n",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    ":",
    "=",
    "\\",
    "\n",
    " ",
    "//",
    "/*",
    "*/",
    "# ",
    "-",
    "1.",
    "search(",
    "book.table(q='x')",
    "Text to Speech(",
    '{"tool": "search"}',
    '"args": {',
    "'name': ",
    "depends_on",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "Action: ",
    "Action Input: ",
    "def f():\n",
    "for x in y",
    "True",
    "null",
    "${t1}",
    "$1",
    "{{a}}",
    "Final plan:",
    "Observation:",
    "I cannot",
    "\\u00",
    "\\ud83d",
    "é",
    "\x00",
    "1e999",
    "...",
    "steps",
    '"subtasks": [',
    "**",
    "x=",
    "\u2028",
]


@given(st.one_of(st.text(), st.binary(), st.lists(st.sampled_from(SNIPPETS), max_size=40).map("".join)))
def test_any_text_is_a_draft_or_a_refusal(text: str | bytes) -> None:
    outcome = tried(text)

    if isinstance(outcome, Draft):
        assert outcome.steps
        for step in outcome.steps:
            json.dumps([dict(step.arguments), step.output, step.when, step.instruction], allow_nan=False).encode()
    else:
        assert str(outcome) == f"{outcome.reason}: {outcome.problem}"


def fenced(text: str) -> str:
    return f"Sure, here it is [1]:\n\n```json\n{text}\n```\n\nDoesn't that look good?"


DECORATIONS: dict[str, Callable[[list[dict[str, object]]], str]] = {
    "json": json.dumps,
    "indented": lambda plan: json.dumps(plan, indent=2, ensure_ascii=False),
    "wrapped": lambda plan: json.dumps({"thought": "I plan", "subtasks": plan, "aggregate": "join"}),
    "fence": lambda plan: fenced(json.dumps(plan)),
    "prose": lambda plan: "My plan is " + json.dumps(plan) + " and that is all.",
    "lines": lambda plan: "\n".join(map(json.dumps, plan)),
    "tags": lambda plan: "\n".join(f"<tool_call>\n{json.dumps(step)}\n</tool_call>" for step in plan),
    "python": repr,
    "python in a fence": lambda plan: fenced(repr(plan)),
    "trailing commas": lambda plan: "[" + ", ".join(json.dumps(step)[:-1] + ",}" for step in plan) + ",]",
    "missing commas": lambda plan: "[" + "\n".join(map(json.dumps, plan)) + "]",
    "comments": lambda plan: "[ // steps\n" + ", # next\n".join(map(json.dumps, plan)) + " /* done */ ]",
    "json in json": lambda plan: json.dumps({"plan": json.dumps(plan)}),
}


@pytest.mark.parametrize("decoration", DECORATIONS)
@settings(max_examples=settings().max_examples // 3)  # of each of many decorations
@given(plan=plans())
def test_a_plan_is_read_back_through_every_decoration(decoration: str, plan: list[dict[str, object]]) -> None:
    assert said(tried(DECORATIONS[decoration](plan))) == meant(plan)


@given(plan=plans(), arguments=st.dictionaries(st.text("abc", min_size=1, max_size=4), values, max_size=3))
def test_arguments_come_through_as_they_are(plan: list[dict[str, object]], arguments: dict[str, object]) -> None:
    text = json.dumps([{"id": step["id"], "tool": step["expert"], "args": arguments} for step in plan])

    draft = read(text, NAMES)

    assert [dict(step.arguments) for step in draft.steps] == [arguments] * len(plan)


@pytest.mark.parametrize(
    "decoration", ["json", "indented", "wrapped", "fence", "python", "python in a fence", "missing commas"]
)
@settings(max_examples=settings().max_examples // 3)  # of each of many decorations
@given(plan=plans(), part=st.floats(0, 1))
def test_a_plan_that_is_cut_off_is_never_a_shorter_plan(
    decoration: str, plan: list[dict[str, object]], part: float
) -> None:
    text = DECORATIONS[decoration](plan)

    outcome = tried(text[: int(len(text) * part)])

    assert isinstance(outcome, NoDraft) or len(outcome.steps) == len(plan)


@pytest.mark.parametrize("decoration", ["lines", "tags"])
@given(plan=plans(), part=st.floats(0, 1))
def test_lines_that_are_cut_off_have_the_steps_that_they_show(
    decoration: str, plan: list[dict[str, object]], part: float
) -> None:
    text = DECORATIONS[decoration](plan)
    text = text[: int(len(text) * part)]

    outcome = tried(text)

    assert isinstance(outcome, NoDraft) or len(outcome.steps) == len(re.findall(r'\{"id": "t\d', text))


@given(
    plan=plans(),
    before=st.sampled_from(["", "Sure:\n", "I think {so} [1]:\n```json\n", '<think>{"subtasks": [</think>\n']),
    bare=st.booleans(),
    indent=st.sampled_from([None, 1]),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_pieces_are_the_steps_that_the_whole_text_has(
    plan: list[dict[str, object]], before: str, bare: bool, indent: int | None, sizes: list[int]
) -> None:
    if bare and before == "Sure:\n":
        before = ""
    text = (
        before + json.dumps(plan if bare else {"subtasks": plan, "aggregate": "join"}, indent=indent) + "\n```\nDone."
    )
    pieces, at, steps = StreamParser(NAMES), 0, []
    while at < len(text):
        size = sizes[at % len(sizes)]
        steps += pieces.feed(text[at : at + size])
        at += size

    assert steps == list(read(text, NAMES).steps)


@given(
    st.lists(
        st.sampled_from([*SNIPPETS, '{"subtasks": [', '{"id": "t1", "expert": "a", "instruction": "b"}']), max_size=20
    )
)
def test_pieces_never_raise_and_never_differ_from_the_whole(chunks: list[str]) -> None:
    pieces = StreamParser()
    early = [step for chunk in chunks for step in pieces.feed(chunk)]
    outcome = tried("".join(chunks), [])

    if isinstance(outcome, Draft) and early and outcome.steps[0].place == early[0].place:
        assert (
            list(outcome.steps[: len(early)]) == early
            or "left out" in str(outcome.mends)
            or "replaced" in str(outcome.mends)
        )


HOSTILE = {
    "brackets": "[" * 100_000,
    "parentheses": "(" * 100_000,
    "calls": "f(" * 50_000,
    "objects": '{"a":' * 20_000,
    "quotes": '"' * 100_000,
    "a list of quotes": '["' * 50_000,
    "backslashes": '["' + '\\"' * 50_000,
    "one letter": "a" * 100_000,
    "spaces": "[" + " " * 100_000,
    "commas": "[" + "," * 100_000,
    "fences": "```" * 33_000,
    "comments": "[/*" * 33_000,
    "open calls": "x = f(1)\n" * 11_000,
    "small objects": '{"a":1} ' * 12_000,
    "quotes inside quotes": '[{"tool":"' + 'a"b' * 33_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_are_refused_in_time(kind: str) -> None:
    text = HOSTILE[kind]
    started = time.process_time()

    outcome = tried(text)

    assert isinstance(outcome, NoDraft)
    assert time.process_time() - started < 1.0, "quadratic; the bar of 50 ms is a benchmark's, not a test's"


BETWEEN_CALLS = [
    *(
        ("", call + "\n" * 200, "")
        for call in ("search(text=<node-0>)null", "ech(text=<node-0>)null", "`search(q=$1)` or ")
    ),
    *(("search(q=1)", run, f"{end}search(q=2)") for run in (" ", "\n", ", ", "</a>") for end in ("", "x ")),
]


@pytest.mark.parametrize(("before", "piece", "after"), BETWEEN_CALLS)
def test_what_stands_between_calls_takes_time_with_its_length(before: str, piece: str, after: str) -> None:
    """With the square of its length 80,000 characters took from three seconds to minutes."""

    def calls(text: str) -> None:
        with contextlib.suppress(NoDraft):
            read(text, ("search",))

    assert takes_linear_time(calls, before, piece, 8_000, after)
