"""A planner's text that is broken, no plan, or several."""

from __future__ import annotations

import json

import pytest

from swarm.planner.parse.draft import read
from tests.unit.planner.parse.reading import mends, refused, steps

# -- broken JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ('[{"tool": "a", "say": "he said "no" to it"}]', "a quote inside a text"),
        ("[{'tool': 'a', 'say': 'it's late'}]", "a quote inside a text"),
        ('[{"tool": "a", "say": "one\ntwo"}]', "a line break inside a text"),
        ('[{"tool": "a", "n": 1}, {"tool": "b", "n": 2,}]', "a comma at the end"),
        ('[{"tool": "a", "n": 1} {"tool": "b", "n": 2}]', "a missing comma"),
        ("[{'tool': 'a', 'n': None}]", "Python's literals"),
        ('[{"tool": "a" # first\n}]', "a comment"),
        ("[a(x='one), b(y='two')]", "a missing quote"),
        ('```\n[{"tool": "a", "n": 1}, {"tool": "b", "n": 2}\n```', "a missing ]"),
    ],
)
def test_every_mend_is_reported(text: str, mend: str) -> None:
    draft = read(text, ["a", "b"])

    assert mend in mends(draft)
    assert [step.expert for step in draft.steps] in (["a"], ["a", "b"])


def test_quotes_inside_a_text_are_kept() -> None:
    assert steps('[{"tool": "a", "args": {"say": "he said "no" to it", "n": 1}}]') == [
        ("a", {"say": 'he said "no" to it', "n": 1})
    ]


# -- no plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("I'm sorry, but I cannot help with that.", "refusal"),
        ("Unfortunately, I do not have access to flights.", "refusal"),
        ("Which city do you mean?", "question"),
        ("Could you please provide the order number so that I can go on.", "question"),
        ("Here are the results: it is 21 degrees in Rome and 18 in Oslo.", "pretended"),
        ("def plan(tasks):\n    for task in tasks:\n        search(task)\n", "program"),
        ("import os\n\nwhile True:\n    search(q=os.name)\n", "program"),
        ("[search(q=x) for x in range(3)]", "program"),
        ('[{"tool": "search", "args": {"q": "tea"}}, {"tool": "bo', "cut"),
        ("[search(q='tea'), book(n=", "cut"),
        ('{"tool": "search"}\n{"tool": "bo', "cut"),
        ("<think>let me see", "cut"),
        ("I think it is tea. " * 300, "repeats"),
        ("[" + ",".join(['{"tool": "a"}'] * 40) + "]", "repeats"),
        ("[" * 5_000, "too_deep"),
        ('{"a":' * 5_000, "too_deep"),
        ("x" * 200_001, "too_long"),
        ("[" + ",".join(f'{{"tool": "a{i}"}}' for i in range(1_001)) + "]", "too_many"),
        ("\n".join(f"a{i}(x=1)" for i in range(1_001)), "too_many"),
        ("Tea is a drink.", "no_plan"),
        ("[1, 2, 3]", "no_plan"),
        ('{"error": "nothing fits"}', "no_plan"),
        ('[{"tool": "a"}, {"tool": "b"}, "and then the rest"]', "incomplete"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_plan_is_refused_with_its_kind(text: str, reason: str) -> None:
    assert refused(text, "search", "book", "a", "b") == reason


def test_an_empty_list_of_steps_is_refused() -> None:
    assert refused('{"subtasks": []}') == "no_plan"


def test_the_repair_library_is_the_last_rung() -> None:
    draft = read('```json\n{"subtasks": [{"id": "t1", "expert": "a", "instruction": b"}]}\n```')

    assert [(s.id, s.expert, s.instruction) for s in draft.steps] == [("t1", "a", "b")]
    assert draft.read_as == "repair"
    assert "the repair library read it" in mends(draft)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n[{"tool": "a", "say": "x}, {"tool": "b", "say": "y"}]\n```',
        '[\n{"tool": "a", "say": "x},\n{"tool": "b", "say": "y"}\n]',
    ],
)
def test_a_missing_quote_does_not_swallow_the_next_step(text: str) -> None:
    assert refused(text) == "incomplete"


def test_a_mended_text_that_lost_a_step_is_refused() -> None:
    assert refused('[{"tool": "a", "q": 1, "tool": "b", "q": 2}]') == "incomplete"


def test_a_plan_written_out_in_a_program_is_taken_and_said() -> None:
    text = (
        "def run(steps):\n    for step in steps:\n        call(step)\n\n"
        'steps = [{"id": "a", "tool": "search"}, {"id": "b", "tool": "book"}]\n'
    )
    draft = read(text)

    assert [step.expert for step in draft.steps] == ["search", "book"]
    assert "the text has a program beside the plan" in mends(draft)


# -- several plans -------------------------------------------------------------------------------------------------


def test_the_first_plan_counts_and_the_rest_is_reported() -> None:
    text = (
        '[{"id": "1", "tool": "a"}, {"id": "2", "tool": "b"}]\n\nOr:\n\n'
        '[{"id": "1", "tool": "c"}, {"id": "2", "tool": "d"}]'
    )
    draft = read(text)

    assert [step.expert for step in draft.steps] == ["a", "b"]
    assert "a further plan in the text was left out" in mends(draft)


def test_a_plan_announced_as_final_replaces_the_draft() -> None:
    text = (
        '[{"id": "1", "tool": "a"}, {"id": "2", "tool": "b"}]\n\nThis misses a step. Final plan:\n'
        '[{"id": "1", "tool": "c"}]'
    )
    draft = read(text)

    assert [step.expert for step in draft.steps] == ["c"]
    assert "an earlier plan was replaced by the one announced after it" in mends(draft)


def test_a_plan_said_twice_is_taken_once() -> None:
    text = '[{"id": "1", "tool": "a"}]\n\nSo the answer is:\n\n[{"id": "1", "tool": "a"}]'
    draft = read(text)

    assert [step.expert for step in draft.steps] == ["a"]
    assert "repeated steps were taken once" in mends(draft)


def test_what_stands_behind_a_pretended_observation_is_not_read() -> None:
    text = (
        'Action:\n{"action": "search", "action_input": {"q": 1}}\nObservation: found\n'
        'Action:\n{"action": "book", "action_input": {}}'
    )
    draft = read(text)

    assert [step.expert for step in draft.steps] == ["search"]
    assert any("not read" in what for what in mends(draft))


# -- any bytes -----------------------------------------------------------------------------------------------------


def test_bytes_are_read_in_the_encodings_that_say_so() -> None:
    plan = '[{"tool": "søk"}]'
    assert [
        steps(plan.encode()),
        steps(b"\xef\xbb\xbf" + plan.encode()),
        steps(plan.encode("utf-16")),
    ] == [[("søk", {})]] * 3


def test_half_characters_and_control_characters_do_not_come_through() -> None:
    draft = read(
        '[{"tool": "a", "instruction": "x\\u0000\\ud83dy\\ud83d\\ude00", "args": {"n": 1e999, "m": NaN}}]\ud800'
    )

    draft.steps[0].instruction.encode()
    assert "\0" not in draft.steps[0].instruction
    assert draft.steps[0].instruction.endswith("😀")
    json.dumps(dict(draft.steps[0].arguments), allow_nan=False)
