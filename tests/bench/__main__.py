"""python -m tests.bench NAME [--json] [--rounds N | --minutes N] [--markdown], or `all`, or --list."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import uvloop
from rich.console import Console

from tests.bench.benches import ALL, BY_NAME, Bench
from tests.bench.markdown import markdown
from tests.bench.report import Found, report, table
from tests.bench.rig import BenchError, Skipped, end_on_sigterm

Missing = dict[str, str]
"""Bench -> why it measured nothing."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the bars of the design.")
    parser.add_argument("name", nargs="?", choices=[*BY_NAME, "all"], help="which bench; all: those that --list marks")
    parser.add_argument("--json", action="store_true", help="print one JSON object per bench instead of a table")
    parser.add_argument("--markdown", action="store_true", help="at the end print one Markdown table of all bars")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--rounds", type=int, metavar="N", help="how often, instead of the bench's own number")
    many.add_argument("--minutes", type=int, metavar="N", help="how long, for a bench that is measured in minutes")
    parser.add_argument("--list", action="store_true", help="say which benches there are")
    given = parser.parse_args(argv)
    if given.list or given.name is None:
        print("\n".join(_listed()))
        return 0 if given.list else 2
    chosen = [bench for bench in ALL if bench.in_all] if given.name == "all" else [BY_NAME[given.name]]
    if (times := given.rounds if given.minutes is None else given.minutes) is not None and times < 1:
        parser.error("--rounds and --minutes take a number from 1 on")
    if any(bench.counts != "minutes" for bench in chosen) and given.minutes is not None:
        parser.error(f"--minutes is for {', '.join(bench.name for bench in ALL if bench.counts == 'minutes')}")
    end_on_sigterm()
    return _all(chosen, times, given)


def _listed() -> Iterator[str]:
    for bench in ALL:
        yield f"{bench.name:<11} {'*' if bench.in_all else ' '} {bench.about}: {', '.join(bench.metrics)}"
    yield "* in `all`"


def _all(chosen: Sequence[Bench], times: int | None, given: argparse.Namespace) -> int:
    """Run them one after the other and print what each found."""
    reports: list[dict[str, Any]] = []
    skipped: Missing = {}
    failed: Missing = {}
    errors = Console(stderr=True)
    for bench in chosen:
        try:
            found = _measured(bench, times or bench.rounds, errors)
        except BenchError as error:
            (skipped if isinstance(error, Skipped) else failed)[bench.name] = str(error)
            errors.print(f"{bench.name}: {'skipped: ' if isinstance(error, Skipped) else ''}{error}")
            continue
        except Exception as error:  # a bench that breaks takes no other with it
            failed[bench.name] = f"{type(error).__name__}: {error}"
            errors.print_exception()
            continue
        reports.append(found)
        if given.json:
            print(json.dumps(found), flush=True)
        else:
            Console().print(table(found, bench.about, bench.metrics))
    if given.markdown:
        print(markdown(reports, BY_NAME, skipped | failed))
    return 1 if failed else 0


def _measured(bench: Bench, times: int, errors: Console) -> dict[str, Any]:
    with (
        errors.status(f"{bench.name}, {times} {bench.counts}"),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        samples = runner.run(_run(bench, times))
    return report(bench.name, times, samples, bench.metrics)


async def _run(bench: Bench, times: int) -> Found:
    found = await bench.run(times)
    return found if isinstance(found, Found) else Found(found)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
