"""A search that never ends holds nobody up and is over after its second."""

from __future__ import annotations

import threading
from typing import Any

from experts.output_schema import violation

MAIL = r"^([a-zA-Z0-9]+[._-]?)+@[a-z]+\.[a-z]+$"
"""As people write it, and with 34 letters it needs years."""
EVIL = "a" * 34 + "!"
STOPS = "a" * 80 + "!"
SLOW = r"^(a|aa)+$"
"""For which every engine that goes back needs years."""


def of_mail(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"mail": {"type": "string", "pattern": MAIL, **more}}}


def test_a_pattern_that_never_ends_is_told_as_a_misfit_and_others_run_meanwhile() -> None:
    turns = 0
    over = threading.Event()

    def count() -> None:
        nonlocal turns
        while not over.wait(0.01):
            turns += 1

    beside = threading.Thread(target=count)
    beside.start()
    problem = violation({"mail": STOPS}, {"properties": {"mail": {"pattern": SLOW}}})
    over.set()
    beside.join()

    assert "needs more than 1 s" in (problem or "")
    assert turns > 10, "the search lets other threads run"
    assert "does not match" in (violation({"mail": EVIL}, of_mail()) or ""), "for which Python's own engine needs years"
    assert violation({"mail": "me@example.org"}, of_mail()) is None
