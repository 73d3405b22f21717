"""The strict form of a schema, and what it loses."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

from swarm.llm.strict_schema import strictly
from tests.unit.llm.schemas import open_object
from tests.unit.llm.test_strict_schema import TEXT, closed


def ways_without_end(step: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A schema of ten small parts, each of which leads to the next in many ways."""
    parts = {f"A{n}": step({"$ref": f"#/$defs/A{n + 1}"}) for n in range(9)}
    return open_object(a={"$ref": "#/$defs/A0"}) | {"$defs": parts | {"A9": TEXT}}


@pytest.mark.parametrize(
    "schema",
    [
        ways_without_end(lambda part: {"anyOf": [part] * 50}),
        ways_without_end(lambda part: {"oneOf": [{"type": "array", "items": part}] * 50}),
        closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}] * 2}}},
        closed(a=functools.reduce(lambda part, _: open_object(b=part) | {"type": ["object"] * 40}, range(8), TEXT)),
    ],
    ids=["references", "lists", "itself", "types"],
)
def test_no_schema_takes_longer_than_it_is_long(schema: dict[str, Any]) -> None:
    begun = time.process_time()

    assert strictly(schema) is None
    assert time.process_time() - begun < 2
