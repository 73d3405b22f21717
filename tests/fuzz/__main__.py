"""`python -m tests.fuzz TARGET`: see the package's docstring."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TARGETS = {"compile": "tests.fuzz.compile", "draft": "tests.fuzz.draft"}
"""Modules with `check(data)` and `SEEDS`; imported late, so that they can be instrumented."""


def module(name: str) -> Any:
    return importlib.import_module(TARGETS[name])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=sys.modules["tests.fuzz"].__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--random", action="store_true", help="random pieces of plans, without atheris")
    parser.add_argument("--input", type=Path, help="check this one file")
    given = parser.parse_args()
    if given.input:
        module(given.target).check(given.input.read_bytes())
    elif given.random:
        at_random(given.target, given.seconds)
    elif importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install atheris, or give --random")
    else:
        guided(given.target, given.seconds)


def guided(name: str, seconds: int) -> None:
    """Let atheris choose the bytes, from the seeds on; it ends the process."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["swarm.planner"]):
        target = module(name)
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for i, seed in enumerate(target.SEEDS):
        (corpus / f"seed-{i}").write_bytes(seed)
    prefix = f"-artifact_prefix={corpus}/found-"
    print(f"what is found will lie in {corpus}", flush=True)
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-max_len=4000", "-timeout=5", prefix], target.check
    )
    atheris.Fuzz()


def at_random(name: str, seconds: int) -> None:
    """Glue pieces of the seeds together at random, changed a little."""
    target, seeds = module(name).check, module(name).SEEDS
    ends, count, chance = time.monotonic() + seconds, 0, random.Random(0)
    while time.monotonic() < ends:
        pieces = [seed[chance.randrange(len(seed)) :][: chance.randrange(1, 60)] for seed in chance.choices(seeds, k=8)]
        text = bytearray(b"".join(pieces))
        for _ in range(chance.randrange(4)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        target(bytes(text))
        count += 1
    print(f"{count:,} texts, no promise broken")


if __name__ == "__main__":
    main()
