"""Schemas in short."""

from __future__ import annotations

from typing import Any

from swarm.llm.strict_schema import Strict, strictly


def open_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def strict(schema: dict[str, Any]) -> Strict:
    found = strictly(schema)
    assert found is not None
    return found
