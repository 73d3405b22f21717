"""What is read of a planner's text, in short."""

from __future__ import annotations

import pytest

from swarm.errors import NoDraft
from swarm.planner.parse.draft import Draft, read


def steps(text: str | bytes, *experts: str) -> list[tuple[str, dict[str, object]]]:
    """The experts and arguments of a text."""
    return [(step.expert, dict(step.arguments)) for step in read(text, experts).steps]


def refused(text: str | bytes, *experts: str) -> str:
    with pytest.raises(NoDraft) as error:
        read(text, experts)
    return error.value.reason


def mends(draft: Draft) -> set[str]:
    return {mend.what for mend in draft.mends}
