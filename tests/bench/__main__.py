"""python -m tests.bench NAME [--json] [--rounds N], or `all`, or --list."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

import uvloop
from rich.console import Console

from tests.bench.benches import ALL, BY_NAME, Bench
from tests.bench.report import report, table
from tests.bench.rig import BenchError, end_on_sigterm


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the bars of the design.")
    parser.add_argument("name", nargs="?", choices=[*BY_NAME, "all"], help="which bench")
    parser.add_argument("--json", action="store_true", help="print one JSON object per bench instead of a table")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often, instead of the bench's own number")
    parser.add_argument("--list", action="store_true", help="say which benches there are")
    given = parser.parse_args(argv)
    if given.list or given.name is None:
        for bench in ALL:
            print(f"{bench.name:<11} {bench.about}: {', '.join(bench.units)}")
        return 0 if given.list else 2
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    end_on_sigterm()
    failed = [
        bench.name for bench in (ALL if given.name == "all" else (BY_NAME[given.name],)) if not show(bench, given)
    ]
    return 1 if failed else 0


def show(bench: Bench, given: argparse.Namespace) -> bool:
    """Run one bench and print what it found; False when it could not measure."""
    rounds: int = given.rounds or bench.rounds
    errors = Console(stderr=True)
    try:
        with (
            errors.status(f"{bench.name}, {rounds} rounds"),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            samples = runner.run(_run(bench, rounds))
    except BenchError as error:
        errors.print(f"{bench.name}: {error}")
        return False
    found = report(bench.name, rounds, samples, bench.units)
    if given.json:
        print(json.dumps(found), flush=True)
    else:
        Console().print(table(found, bench.about, bench.bars))
    return True


async def _run(bench: Bench, rounds: int) -> dict[str, list[float]]:
    return {metric: list(values) for metric, values in (await bench.run(rounds)).items()}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
