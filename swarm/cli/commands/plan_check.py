"""`swarm plan check`: run the recorded answers of a planner's model through the compiler."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from swarm.cli.base import output_file
from swarm.cli.base.console import Screen
from swarm.cli.base.context import AsJson, Edge
from swarm.cli.base.options import utf8
from swarm.errors import BadInput
from swarm.planner.compile.compiler import CompileRules
from swarm.planner.evaluate.compile_check import CompileReport, verdicts
from swarm.planner.evaluate.recordings import Requests

MOST_MODELS = 8
"""Models that get a column in the table of categories; more models are counted together."""
LONG = 2_000_000
"""Bytes of a file above which a terminal shows the progress."""


def check(
    outputs: Annotated[str, typer.Argument(metavar="OUTPUTS.jsonl", help="Lines with model, request_id and raw.")],
    requests: Annotated[str, typer.Option("--requests", metavar="FILE", help="Lines with request_id and tools.")],
    tools: Annotated[
        str | None,
        typer.Option("--tools", metavar="FILE", help="Experts for requests that name none: by domain, or for all."),
    ] = None,
    graph_only: Annotated[bool, typer.Option("--graph-only", help="Accept any name of an expert.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse self, dangling and circular edges, as a running swarm does.")
    ] = False,
    verdicts_file: Annotated[
        str | None, typer.Option("--verdicts", metavar="FILE", help="Write each text's plan or refusal, and its mends.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --verdicts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure whether a model is fit to plan: run its recorded texts through the compiler.

    A text is valid if its whole plan can run: complete, no cycles, every
    expert known. Self, dangling and circular edges are dropped and counted as
    mends. A running swarm does so only with SWARM_MEND_EDGES=1; else it asks
    its planner again: see --strict.
    """
    screen = Edge.of(None, as_json).screen
    path, asked = _path(outputs, "outputs"), _path(requests, "requests")
    named = _path(tools, "tools") if tools else None
    target = _path(verdicts_file, "verdicts") if verdicts_file else None
    if target:
        output_file.writable("verdicts", target, [path, asked, *([named] if named else [])], force=force)
    known, report = Requests(asked, named, graph_only=graph_only), CompileReport()
    with ExitStack() as stack:
        file = stack.enter_context(output_file.written("verdicts", target, force=force)) if target else None
        moved = stack.enter_context(_progress(screen, path))
        for line, verdict in verdicts(path, known, CompileRules(mend_edges=not strict)):
            report.add(verdict)
            moved(line.end)
            if file:
                file.write(json.dumps(verdict.document(), ensure_ascii=False) + "\n")
        if not report.total.n:
            raise BadInput(
                "outputs", f"{path} holds no texts", "give one text per line, with model, request_id and raw"
            )
    screen.document(report.document())
    _tables(screen, report)


def _path(given: str, field: str) -> Path:
    return Path(utf8(given, field)).expanduser()


@contextmanager
def _progress(screen: Screen, path: Path) -> Iterator[Callable[[int], object]]:
    """Show on a terminal how many bytes of a long file are done."""
    size = path.stat().st_size if path.is_file() else 0
    if screen.as_json or not screen.err.is_terminal or size < LONG:
        yield lambda done: None
        return
    with Progress(BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=screen.err, transient=True) as bar:
        task = bar.add_task("", total=size)
        yield lambda done: bar.update(task, completed=done)


def _tables(screen: Screen, report: CompileReport) -> None:
    total = report.total
    rows = [(name, *_counts(c.n, c.valid, c.mended)) for name, c in sorted(report.models.items())]
    if len(rows) != 1:
        rows.append(("all", *_counts(total.n, total.valid, total.mended)))
    screen.columns(rows, ("model", "texts", "valid", "share", "of them mended"))
    if report.categories:
        screen.line("")
        _categories(screen, report)
    screen.line("")
    screen.line(f"{report.ms_median:.2f} ms a text (median)")
    if report.exceptions:
        screen.line((f"{report.exceptions:,} exceptions, a bug in swarm; the first: {report.first_exception}", "red"))


def _counts(n: int, valid: int, mended: int) -> tuple[str, str, str, str]:
    return f"{n:,}", f"{valid:,}", f"{valid / n:.1%}", f"{mended:,}"


def _categories(screen: Screen, report: CompileReport) -> None:
    """Print refusals, then mends, each with its number of texts, by model if there are few models."""
    models = sorted(report.models) if 1 < len(report.models) <= MOST_MODELS else []
    kinds = sorted(report.categories, key=lambda kind: (kind.startswith("mended"), -report.categories[kind]))
    rows = [
        (kind, f"{report.categories[kind]:,}", *(f"{report.by_model[kind, model]:,}" for model in models))
        for kind in kinds
    ]
    screen.columns(rows, ("category", "texts", *models))
