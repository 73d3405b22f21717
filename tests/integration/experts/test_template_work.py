"""Templates that go on until they are stopped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from experts.catalog.card_reader import CardReader
from experts.instruction.template import compiled, render
from swarm.errors import ExpertError
from tests.unit.experts.catalog.cards import a_front, written


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in range(100000) %}{{ instruction * 9 }}{% endfor %}",
        "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_is_stopped_by_the_work_that_it_makes(body: str) -> None:
    begun = time.process_time()

    with pytest.raises(ExpertError, match="template"):
        render(compiled(body), {"instruction": "words", "results": []}, seconds=5)
    assert time.process_time() - begun < 5


def test_a_template_with_much_work_may_run_and_is_not_run_to_its_end_by_a_check(tmp_path: Path) -> None:
    body = "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}"
    begun = time.process_time()

    assert CardReader(written(tmp_path, a_front(), body), tmp_path).problems == []
    assert time.process_time() - begun < 5
