"""Which keywords a refusal names, and what is left of a schema without them."""

from __future__ import annotations

import pytest

from swarm.llm.openai.schema_keywords import blamed, shaping, without

pytest.importorskip("openai")


def test_only_keywords_are_left_out_and_no_names_or_values_that_look_like_them() -> None:
    named = {"type": "object", "properties": {"pattern": {"type": "string", "pattern": "x"}, "minItems": {}}}
    schema = {"$defs": {"format": named}, "anyOf": [named], "enum": [{"pattern": 1}], "pattern": "y"}

    assert without(schema, {"pattern", "minItems", "format"}) == {
        "$defs": {"format": {"type": "object", "properties": {"pattern": {"type": "string"}, "minItems": {}}}},
        "anyOf": [{"type": "object", "properties": {"pattern": {"type": "string"}, "minItems": {}}}],
        "enum": [{"pattern": 1}],
    }
    assert blamed("minItems and 'pattern' are unknown", named) == {"pattern"}


@pytest.mark.parametrize(
    "said",
    [
        "maximum context length is 8192 tokens", "response_format is not supported", "Internal Server Error",
        "no pattern fits", "the minimum is 1", "a text does not contain the expected format",
    ],
)  # fmt: skip
def test_words_of_other_refusals_blame_no_keyword(said: str) -> None:
    schema = {"pattern": "x", "minimum": 1, "maximum": 2, "format": "date", "contains": {}, "minItems": 1}

    assert (blamed(said, schema), shaping(said)) == (frozenset(), False)
