"""One line of a doctor's report: what it is about, how it stands, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from swarm.errors import BadInput, SwarmError

Level = Literal["good", "warning", "bad"]
About = Literal["settings", "endpoints", "models", "breakers", "prices", "limits", "redis", "workers", "catalog"]
GROUPS: tuple[About, ...] = get_args(About)
"""In the order of a report."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. Only what is good has no remedy."""

    about: About
    level: Level
    text: str
    remedy: str = ""


def good(about: About, text: str) -> Finding:
    return Finding(about, "good", text)


def warning(about: About, text: str, remedy: str) -> Finding:
    return Finding(about, "warning", text, remedy)


def bad(about: About, text: str, remedy: str) -> Finding:
    return Finding(about, "bad", text, remedy)


def raised(about: About, error: SwarmError, otherwise: str = "") -> Finding:
    """What an error of ours says, which names its remedy behind its problem; `otherwise` where it names none."""
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
    """How many there are of each level."""
    found = Counter(finding.level for finding in findings)
    return {level: found[level] for level in get_args(Level)}


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """By what they are about; as they came within."""
    return sorted(findings, key=lambda finding: GROUPS.index(finding.about))
