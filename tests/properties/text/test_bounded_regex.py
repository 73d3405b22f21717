"""Every regular expression on foreign text has a bound on its time."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import experts
import swarm
import workers
from experts.output_schema import schema_problem, violation
from swarm.text.bounded_regex import PatternTooSlow, in_time, search

MAIL = r"^([a-zA-Z0-9]+[._-]?)+@[a-z]+\.[a-z]+$"
"""As people write it, and with 34 letters it needs years."""
EVIL = "a" * 34 + "!"
STOPS = "a" * 80 + "!"
SLOW = r"^(a|aa)+$"
"""For which every engine that goes back needs years."""


def of_mail(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"mail": {"type": "string", "pattern": MAIL, **more}}}


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"patternProperties": {SLOW: {"type": "string"}}}, {STOPS: "x"}),
        ({"patternProperties": {SLOW: {}}, "additionalProperties": False}, {STOPS: "x"}),
        ({"propertyNames": {"pattern": SLOW}}, {STOPS: "x"}),
        ({"$defs": {"m": {"pattern": SLOW}}, "items": {"$ref": "#/$defs/m"}}, [STOPS] * 50),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": {"pattern": SLOW}}, [STOPS]),
    ],
)
def test_every_keyword_with_a_pattern_is_bounded_and_the_whole_check_with_it(schema: dict[str, Any], data: Any) -> None:
    assert schema_problem(schema) is None
    with in_time(0.05):
        assert "needs more than 1 s" in (violation(data, schema) or "")


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"pattern": "("}, "has a pattern '(' that cannot be used"),
        ({"patternProperties": {"[": {}}}, "has a pattern '[' that cannot be used"),
        ({"pattern": "a" * 3_000}, "at most 2,000"),
        ({"items": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "has a nested $schema"),
        ({"properties": {"default": {"$schema": "http://json-schema.org/draft-07/schema#"}}}, "has a nested $schema"),
        (
            {"$ref": "#/default", "default": {"$schema": "http://json-schema.org/draft-07/schema#"}},
            "has a nested $schema",
        ),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "unevaluatedProperties"),
    ],
)
def test_a_pattern_that_cannot_be_run_with_a_bound_is_found_before(schema: dict[str, Any], problem: str) -> None:
    assert problem in (schema_problem(schema) or "")
    assert problem in (violation({}, schema) or ""), "and in a card that was published before"


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"(?<year>\d{4})", r"^(?!no)yes?$", r"^[\w.+-]+@[\w-]+\.[\w.]+$"])
def test_patterns_of_other_languages_are_taken(pattern: str) -> None:
    assert schema_problem({"pattern": pattern}) is None


def test_all_searches_of_a_check_share_its_time() -> None:
    def for_ever() -> None:
        while True:
            search(r"^a+$", "a" * 1_000)

    with in_time(0.05), pytest.raises(PatternTooSlow):
        for_ever()
    with in_time(0.05), in_time(60), pytest.raises(PatternTooSlow):
        for_ever()


# -- the same answers as before ----------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5, "", "a", "ab"]),
    lambda inside: (
        st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from(["a", "ab", "b"]), inside, max_size=3)
    ),
    max_leaves=8,
)
SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "uniqueItems": st.booleans(),
        "pattern": st.sampled_from(["^a", "b$", "^ab$"]),
        "properties": st.just({"b": {"type": "integer"}}),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), st.just({"type": "array"}), max_size=2),
        "additionalProperties": st.sampled_from([True, False, {"type": "string"}]),
    },
)


@given(VALUES, SCHEMAS)
def test_bounded_keywords_judge_as_their_library_does(data: Any, schema: dict[str, Any]) -> None:
    assert (violation(data, schema) is None) == Draft202012Validator(schema).is_valid(data)


def test_a_long_list_without_repetitions_takes_no_square_of_its_length() -> None:
    many = [{"n": number} for number in range(5_000)]
    begun = time.process_time()
    assert violation(many, {"uniqueItems": True}) is None
    assert violation([*many, {"n": 7}], {"uniqueItems": True}) is not None
    taken = time.process_time() - begun
    begun = time.process_time()
    for item in many:
        Draft202012Validator({"type": "object"}).is_valid(item)

    assert taken < 5 * (time.process_time() - begun), "as long as looking at each item takes"


# -- expressions of our own --------------------------------------------------------------------------------------------

PIECES = (
    "a", "A", "1", " ", "\n", "\t", ".", "-", "_", "(", "[", "{", "<", '"', "'", "`", "=", ":", ",", "/", "#", "\\",
    "*", "$", "|", "a ", "a.", "a-", "1.", ", ", "- ", "\n ", "a,", "a b", "${", "<a", "a=", "\\\"", "Step 1: ", "a(",
)  # fmt: skip
LONG = 300


def own_patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Every expression that a module of ours has compiled."""
    for package in (swarm, experts, workers):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            for name, value in vars(importlib.import_module(found.name)).items():
                for number, each in enumerate(value.values() if isinstance(value, dict) else [value]):
                    if isinstance(each, re.Pattern) and isinstance(each.pattern, str):
                        yield f"{found.name}.{name}.{number}", each


def test_no_expression_of_ours_is_exponential() -> None:
    """Judged by plain walks. Those that need the cube of a text look at a few hundred characters only."""
    begun = time.process_time()
    for _ in range(1_000):
        re.compile(r"(?:[ab]|c)*").match("a" * LONG)
    walks = max(time.process_time() - begun, 0.05)
    slow = []
    for name, pattern in own_patterns():
        for piece in PIECES:
            text = piece * (LONG // len(piece)) + "\x00"
            begun = time.process_time()
            pattern.match(text)
            if time.process_time() - begun > 20 * walks:
                slow.append((name, piece))

    assert slow == []
