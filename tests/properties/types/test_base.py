"""What every text goes through."""

from __future__ import annotations

import time

from swarm.types.base import cleaned


def test_cleaning_takes_no_longer_for_hostile_text() -> None:
    begun = time.process_time()
    for piece in ("\x1b]", "\x1b[0;", "\x1b" + " " * 9, " " * 50 + "\x0c"):
        cleaned(piece * (400_000 // len(piece)))
    assert time.process_time() - begun < 5
