"""Texts in the forms that whole families of models write: read wholly and rightly, or refused with their kind."""

from __future__ import annotations

import json

import pytest

from swarm.planner.parse.draft import read
from tests.unit.planner.parse.test_draft_models import KNOWN, refused


@pytest.mark.parametrize("line", ["triage(text='{}')\n", '{{"name": "triage", "arguments": {{"text": "{}"}}}}\n'])
def test_a_text_with_far_more_steps_than_are_accepted_is_refused_early(line: str) -> None:
    text = "".join(line.format(i) for i in range(450))

    assert refused(text) == "too_many"
    assert len(read(text, KNOWN, accepted=200).steps) == 450
    assert refused(json.dumps([f"triage(text='{i}')" for i in range(450)])) == "too_many"
