"""Recorded plans, shapes and latencies: development data beside the checkout, not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.rig import ROOT, Skipped


def recorded(name: str) -> Path:
    """Where a file of recorded data is. Raises Skipped where there is none."""
    folder = Path(os.environ.get("SWARM_BENCH_PLANS") or ROOT.parent / "shared" / "data" / "plans")
    if not (path := folder / name).is_file():
        raise Skipped(f"{folder} has no {name}; SWARM_BENCH_PLANS names the folder that has")
    return path
