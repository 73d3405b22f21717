"""Findings of a doctor in short."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swarm.cli.doctor.findings import Finding
from swarm.types.card import Card


def short(findings: Iterable[Finding]) -> list[str]:
    """`LEVEL text -> remedy`, one for each."""
    return [f"{each.level} {each.text}" + (f" -> {each.remedy}" if each.remedy else "") for each in findings]


def levels(findings: Iterable[Finding]) -> list[str]:
    return [each.level for each in findings]


def a_card(name: str, model: str = "local/template", **more: Any) -> Card:
    return Card(**{"name": name, "kind": "instruction", "description": name, "model": model, "version": "1", **more})


def levels_of(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in lines]
