"""What a reference finds in results, and what is said where it finds nothing."""

from typing import Any

import pytest

from swarm.engine.references import MAX_VALUE, SKIPPED, gathered, list_at, value_at, valued
from swarm.errors import UnusableInput
from swarm.types.result import Citation, Solution

ORDER = {"label": "late", "total": 7, "items": [{"name": "a"}, {"name": "b"}], "nothing": None}
RESULTS = {"t1": Solution(text=" a label ", data=ORDER), "t2": SKIPPED, "r1.t3": Solution(text="text", data=[1, 2])}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("t1.label", "late"),
        ("t1.total", 7),
        ("t1.items.1.name", "b"),
        ("t1.nothing", None),
        ("t1", "a label"),
        ("r1.t3.0", 1),
    ],
)
def test_a_reference_finds_a_value(reference: str, expected: object) -> None:
    assert value_at(reference, RESULTS) == expected


@pytest.mark.parametrize(("data", "expected"), [(True, True), (3, 3), ("word", "word"), (None, "text"), ([1], "text")])
def test_without_a_field_it_is_the_data_where_that_is_one_value(data: Any, expected: object) -> None:
    assert value_at("t", {"t": Solution(text=" text\n", data=data)}) == expected


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("t1.price", "the result of t1 has no field 'price': it has items, label, nothing, total"),
        ("t2", "t2 was skipped"),
        ("t2.label", "t2 was skipped"),
        ("t9", "the result that t9 names is no longer in Redis"),
    ],
)
def test_where_it_finds_nothing_it_says_what_is_there(reference: str, said: str) -> None:
    with pytest.raises(UnusableInput) as caught:
        value_at(reference, RESULTS)

    assert str(caught.value) == said


def test_a_value_that_is_too_long_for_the_log_cannot_be_compared() -> None:
    fits = {"t": Solution(text="x", data={"v": "x" * (MAX_VALUE - 2)})}
    too_long = {"t": Solution(text="x", data={"v": "x" * (MAX_VALUE - 1)})}

    assert value_at("t.v", fits)
    with pytest.raises(UnusableInput, match=r"t\.v has 1,001 bytes, at most 1,000 can be compared"):
        value_at("t.v", too_long)


def test_a_list_is_found_where_it_stands_and_a_skipped_one_is_empty() -> None:
    assert list_at("t1.items", RESULTS) == ORDER["items"]
    assert list_at("r1.t3", RESULTS) == [1, 2]
    assert list_at("t2.items", RESULTS) == []


@pytest.mark.parametrize(
    ("reference", "there"),
    [("t1.label", "a text"), ("t1.total", "a number"), ("t1", "an object"), ("t1.nothing", "null"), ("t4", "a text")],
)
def test_what_is_no_list_is_said_to_be_what_it_is(reference: str, there: str) -> None:
    with pytest.raises(UnusableInput, match=f"{reference} is {there}, not a list"):
        list_at(reference, RESULTS | {"t4": Solution(text="one, two")})


def test_what_was_asked_is_answered_in_full() -> None:
    found = valued(("t1.label", "t1.items[]", "t1.label[]", "t1.price", "t2[]"), RESULTS)

    assert found.values == {"t1.label": "late", "t1.items[]": 2, "t2[]": 0}
    assert found.missing == {
        "t1.label[]": "t1.label is a text, not a list",
        "t1.price": "the result of t1 has no field 'price': it has items, label, nothing, total",
    }


def test_the_results_of_items_become_one_numbered_as_the_items_are() -> None:
    shared, other = Citation(document="a", quote="q"), Citation(document="b", quote="q")
    results = {
        "t2#1": Solution(text="first", data={"n": 1}, citations=(shared,)),
        "t2#3": Solution(text="third", citations=(shared, other)),
    }

    assert gathered(results) == Solution(
        text="1. first\n\n3. third", data=[{"n": 1}, "third"], citations=(shared, other)
    )
