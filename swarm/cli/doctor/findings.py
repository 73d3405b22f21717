"""Findings of `swarm doctor`: subject, level, text and remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from swarm.errors import BadInput, SwarmError

Level = Literal["good", "warning", "bad"]
About = Literal[
    "settings", "endpoints", "models", "encoder", "breakers", "prices", "limits", "redis", "workers", "catalog"
]
GROUPS: tuple[About, ...] = get_args(About)
"""Subjects in the order of the report."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. Only a good finding has no remedy."""

    about: About
    level: Level
    text: str
    remedy: str = ""


class LeftOut(Exception):
    """A check cannot run, for the reason in its message."""


def good(about: About, text: str) -> Finding:
    return Finding(about, "good", text)


def warning(about: About, text: str, remedy: str) -> Finding:
    return Finding(about, "warning", text, remedy)


def bad(about: About, text: str, remedy: str) -> Finding:
    return Finding(about, "bad", text, remedy)


def raised(about: About, error: SwarmError, otherwise: str = "") -> Finding:
    """Turn an error into a finding. Its message names the remedy after the problem; if not, `otherwise` is it."""
    if isinstance(error, BadInput):
        return bad(about, f"{error.field}: {error.problem}", error.remedy or otherwise)
    problem, _, remedy = str(error).partition("; ")
    return bad(about, problem, remedy or otherwise)


def many(count: int, noun: str) -> str:
    """
    >>> many(1, "model"), many(2_000, "model")
    ('1 model', '2,000 models')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted(findings: Sequence[Finding]) -> dict[str, int]:
    """Count the findings of each level."""
    found = Counter(finding.level for finding in findings)
    return {level: found[level] for level in get_args(Level)}


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings by subject; within one they keep their order."""
    return sorted(findings, key=lambda finding: GROUPS.index(finding.about))
