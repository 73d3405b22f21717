"""python -m tests.chaos --jobs N --seed S [--seeds K] [--faults kill,...] [--json] [--markdown] [--schedule SECONDS]
[--appendfsync always|everysec] [--tls] [--mutate NAME]"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile

from rich.console import Console
from rich.status import Status

from swarm import logging
from tests.bench.rig import end_on_sigterm
from tests.chaos.mutants import MUTANTS, OF_CALLERS
from tests.chaos.report import markdown, report, table
from tests.chaos.run import Chosen, Result, run
from tests.chaos.schedule import KINDS, SHIMMED, schedule
from tests.chaos.shims import compiler


def main(argv: Sequence[str]) -> int:
    given = _given(argv)
    faults = tuple(filter(None, given.faults.split(",")))
    if given.schedule is not None:
        for fault in takewhile(lambda fault: fault.at <= given.schedule, schedule(given.seed, faults)):
            print(json.dumps(asdict(fault)))
        return 0
    end_on_sigterm()
    logging.setup("error")
    if given.mutate in OF_CALLERS:
        MUTANTS[given.mutate]()
    errors = Console(stderr=True)
    if compiler() is None and set(faults) & set(SHIMMED):
        errors.print(f"there is no C compiler here: {' and '.join(SHIMMED)} are left out")
        faults = tuple(fault for fault in faults if fault not in SHIMMED)
    told = []
    for seed in range(given.seed, given.seed + given.seeds):
        try:
            with errors.status(f"seed {seed}") as status:
                told.append(report(asyncio.run(_run(given, seed, faults, errors, status))))
        except TimeoutError:
            errors.print(f"seed {seed}: it does not come to an end")
            return 1
        if given.json:
            print(json.dumps(told[-1]), flush=True)
    if not given.json:
        Console().print(table(told))
    if given.markdown:
        print(markdown(told))
    return 0 if all(each["held"] for each in told) else 1


def _given(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="A mixed load while everything breaks.")
    parser.add_argument("--jobs", type=int, default=1_000, metavar="N", help="how many (1000)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="what the load and the faults are drawn from")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="so many seeds in turn, from S on")
    parser.add_argument("--faults", default=",".join(KINDS), help=f"of {','.join(KINDS)} (all); empty: none")
    parser.add_argument(
        "--appendfsync",
        choices=("always", "everysec"),
        default="always",
        help="of Redis (always); with everysec and a slow disk (`fsync`) jobs may go with a kill of Redis",
    )
    parser.add_argument("--tls", action="store_true", help="speak TLS to Redis, and turn over bits of it too")
    parser.add_argument("--mutate", choices=MUTANTS, default="", help="make the worker processes wrong in this way")
    parser.add_argument("--json", action="store_true", help="print one JSON object per seed instead of a table")
    parser.add_argument("--markdown", action="store_true", help="print the table of the README too")
    parser.add_argument("--schedule", type=float, metavar="SECONDS", help="print the faults so far, and run nothing")
    given = parser.parse_args(argv)
    if given.jobs < 1 or given.seeds < 1:
        parser.error("--jobs and --seeds take a number from 1 on")
    if unknown := set(filter(None, given.faults.split(","))) - set(KINDS):
        parser.error(f"--faults knows {','.join(KINDS)}, not {','.join(sorted(unknown))}")
    return given


async def _run(given: argparse.Namespace, seed: int, faults: Sequence[str], errors: Console, status: Status) -> Result:
    """One seed, and a line on how far it is: at the same place on a terminal, else now and then."""
    lines = 0

    def tell(line: str) -> None:
        nonlocal lines
        status.update(f"seed {seed}: {line}")
        lines += 1
        if not errors.is_terminal and lines % 10 == 0:
            errors.print(f"seed {seed}: {line}")

    return await run(Chosen(given.jobs, seed, faults, given.appendfsync, given.tls, given.mutate), tell)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
