"""A plan as a file and as a picture: what is saved is read back as it was, what is shown says what is not known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from swarm.cli.base import options, plan_file
from swarm.types.plan import Plan
from tests.unit.cli.render.test_plan import readable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LINES = st.lists(st.sampled_from(["a", " b", "c ", "", "- d", "# e", "'", '"', "key: v", "\t", "...", "---", "é", "{"]))
VALUES = st.none() | st.booleans() | st.integers(-5, 5) | TEXTS


@hypothesis_given(TEXTS | LINES.map("\n".join), VALUES)
def test_a_saved_plan_is_read_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, text: str, value: Any) -> None:
    plan = readable(text, value)
    if plan is None:
        return
    folder = tmp_path_factory.getbasetemp()
    for name in ("plan.json", "plan.yaml"):
        plan_file.save(folder / name, plan, text, force=True)
        found, request = options.plan(str(folder / name))
        assert (Plan.read(found), request) == (plan, text)
