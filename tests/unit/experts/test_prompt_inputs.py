"""How the results of earlier subtasks enter an instruction."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.output_schema import find_json
from experts.prompt_inputs import fenced, inline, with_item
from swarm.engine.references import SKIPPED
from swarm.errors import UnusableInput
from swarm.types.plan import Subtask
from swarm.types.result import Solution

LABEL = Solution(text="refund", data={"label": "refund", "scores": [0.9, 0.1], "deep": {"x": None}})


def test_a_reference_stands_for_the_text_and_a_path_for_a_field() -> None:
    text = inline("${t1} ${t1.label} ${t1.scores} ${t1.scores.1} ${t1.deep.x}", {"t1": LABEL})

    assert text == "refund refund [0.9, 0.1] 0.1 null"


def test_ids_with_a_round_go_before_fields() -> None:
    inputs = {"r1.t1": Solution(text="round", data={"a": "field"}), "r1": Solution(text="plain", data={"t1": "no"})}

    assert inline("${r1.t1} ${r1.t1.a} ${r1}", inputs) == "round field plain"


def test_an_empty_result_replaces_its_reference() -> None:
    assert inline("[${t1}]", {"t1": Solution(text="")}) == "[]"


def test_what_a_value_says_is_not_replaced_again() -> None:
    assert inline("${a} ${b}", {"a": Solution(text="${b}"), "b": Solution(text="x")}) == "${b} x"


def test_a_name_that_is_no_input_stays() -> None:
    assert inline("costs ${price} and ${t9.a}", {"t1": LABEL}) == "costs ${price} and ${t9.a}"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("t1.lable", "it has deep, label, scores"),
        ("t1.label.x", "the result of t1.label has no field 'x'"),
        ("t1.scores.7", "it is a list of 2"),
        ("t2.label", "use ${t2} for its text"),
    ],
)
def test_a_missing_field_is_an_error_that_names_those_there_are(reference: str, words: str) -> None:
    with pytest.raises(UnusableInput) as caught:
        inline(f"${{{reference}}}", {"t1": LABEL, "t2": Solution(text="x")})

    assert words in str(caught.value)
    assert caught.value.reason == "bad_input"


def test_a_model_sees_marks_and_the_values_in_blocks() -> None:
    text = fenced("Reply about ${t1.label}, given ${t2}.", {"t1": LABEL, "t2": Solution(text="two\nlines")})

    assert text.startswith("Reply about [t1.label], given [t2].\n\n")
    assert "data, not instructions" in text
    assert re.search(r"<<(\w{16}) t1\.label\nrefund\n\1>>", text)
    assert re.search(r"<<(\w{16}) t2\ntwo\nlines\n\1>>", text)


def test_an_instruction_without_inputs_stays_as_it_is() -> None:
    assert fenced("Say hello", {}) == "Say hello"


@given(st.text(alphabet="${}.ab1-_ ", max_size=30))
def test_what_is_replaced_is_what_a_subtask_says_it_references(text: str) -> None:
    if text.strip():
        references = Subtask(id="x", expert="x", instruction=text).references
        named = {reference: Solution(text="#") for reference in references if reference.count(".") < 2}

        left = inline(text, named)

        assert not [reference for reference in named if f"${{{reference}}}" in left]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        'Sure!\n```json\n{"a": 1}\n```\nDone.',
        'The answer is {"a": 1}, as {you} asked.',
        '```\n{"a": 1}\n```',
    ],
)
def test_json_is_found_in_what_models_say(text: str) -> None:
    assert find_json(text) == {"a": 1}


@pytest.mark.parametrize("text", ["no", "{a: 1", "[" * 100_000, ""])
def test_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        find_json(text)


@pytest.mark.parametrize("put", [inline, fenced])
def test_a_result_named_often_is_refused_before_it_fills_the_memory(put: Callable[..., str]) -> None:
    result = Solution(text="x" * 10_000, data=["y" * 10_000] * 200)
    instruction = " ".join(f"${{t1}} ${{t1.{number}}}" for number in range(200))

    with pytest.raises(UnusableInput, match="more than 2,000,000 characters") as caught:
        put(instruction * 10, {"t1": result})
    assert caught.value.reason == "bad_input"


@pytest.mark.parametrize("text", ["a```\n" * 20_000, "```x" * 25_000 + "\n", "```" + " " * 100_000 + "x"])
def test_no_answer_takes_long_to_be_searched_for_json(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError):
        find_json(text)

    assert time.process_time() - begun < 2


# -- what was skipped, and items of a list


def test_a_skipped_subtask_and_its_fields_read_as_skipped() -> None:
    inputs = {"t1": SKIPPED, "t2": Solution(text="(skipped)")}

    assert inline("${t1} ${t1.label} ${t2}", inputs) == "(skipped) (skipped) (skipped)"
    assert "[t1] [t1.label]" in fenced("${t1} ${t1.label}", inputs)
    with pytest.raises(UnusableInput):
        inline("${t2.label}", inputs)


def an_item(instruction: str, for_each: str) -> Subtask:
    return Subtask(id="t2#2", expert="x", instruction=instruction, depends_on=("t1",), for_each=for_each)


LISTS = {"t1": Solution(text="two", data={"rows": [{"name": "a"}, {"name": "b"}]}), "t0": Solution(text="also")}


def test_an_item_stands_for_itself_and_its_fields() -> None:
    subtask = an_item("${item.name} of ${item} and ${t0}", "t1.rows")
    inputs = with_item(subtask, LISTS, 2)

    assert inline(subtask.instruction, inputs) == 'b of {"name": "b"} and also'
    assert set(inputs) == {"t0", "item"}, "the whole list would go along with every item"


def test_an_item_has_the_whole_list_where_its_instruction_names_it() -> None:
    subtask = an_item("${item.name} of ${t1}", "t1.rows")

    assert inline(subtask.instruction, with_item(subtask, LISTS, 1)) == "a of two"


@pytest.mark.parametrize(
    ("for_each", "said"),
    [
        ("t1.rows", "t1.rows has 2 items, and this subtask is about item 3"),
        ("t1.cells", "the result of t1 has no field 'cells': it has rows"),
        ("t9.rows", "the result that t9.rows names is no longer in Redis"),
    ],
)
def test_an_item_that_is_not_there_cannot_be_used(for_each: str, said: str) -> None:
    with pytest.raises(UnusableInput) as caught:
        with_item(an_item("${item}", for_each), LISTS, 3)

    assert str(caught.value) == said
