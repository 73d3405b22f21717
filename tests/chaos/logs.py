"""What the worker processes said of themselves: how each claim ended for them, and what they call an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.logging import DELIVERED

TRACEBACK = 1_500
"""Characters of one that are kept."""


@dataclass
class Said:
    """Of all processes together."""

    verdicts: dict[tuple[str, int], str] = field(default_factory=dict)
    """Delivery and claim -> outcome, see swarm/logging.py."""
    errors: list[str] = field(default_factory=list)
    """Each with the end of its traceback."""


def read(files: Iterable[Path]) -> Said:
    said = Said()
    for path in files:
        for line in _lines(path):
            if line.get("event") == DELIVERED:
                said.verdicts[line["delivery"], line["claim"]] = line["outcome"]
            elif line.get("level") in ("error", "critical"):
                what = str(line.get("exception", ""))[-TRACEBACK:]
                said.errors.append(f"{path.stem}: {line.get('event')} {line.get('delivery', '')} {what}".strip())
    return said


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Those that are whole; a process that is killed may leave half of one."""
    with path.open(errors="replace") as file:
        for text in file:
            if text.startswith("{"):
                try:
                    yield json.loads(text)
                except ValueError:
                    continue
