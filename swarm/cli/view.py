"""A job as it is watched: its events become rows, shown live on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from swarm.cli.screen import Screen, flat, line, listed
from swarm.models import AnyEvent, Ended, Ending, OutcomeRecorded, Planned, Released, Reset, RoundOpened, Started

SHOWN = 24
"""Rows of a live view. Of larger plans those are shown that still run or wait."""
_MARKS = {
    "waiting": ("·", "dim"),
    "queued": ("·", ""),
    "running": ("▸", "yellow"),
    "solved": ("✓", "green"),
    "failed": ("✗", "red"),
}


@dataclass
class Row:
    """One subtask, as far as its events tell."""

    id: str
    expert: str
    instruction: str
    depends_on: tuple[str, ...]
    round: int = 0
    state: str = "waiting"
    ms: int | None = None
    attempt: int = 0
    why: str = ""
    since: float = 0.0

    @property
    def settled(self) -> bool:
        return self.state in ("solved", "failed")

    def document(self) -> dict[str, Any]:
        names = ("id", "expert", "instruction", "depends_on", "state", "ms")
        return {name: getattr(self, name) for name in names}


@dataclass
class JobView:
    """What has been seen of a job."""

    job: str
    rows: dict[str, Row] = field(default_factory=dict)
    planner: str = ""
    notes: tuple[str, ...] = ()
    ending: Ending | None = None
    begun: float = field(default_factory=time.monotonic)
    took: float | None = None

    @property
    def seconds(self) -> float:
        return self.took if self.took is not None else time.monotonic() - self.begun

    @property
    def experts(self) -> dict[str, str]:
        return {row.id: row.expert for row in self.rows.values()}

    def take(self, event: AnyEvent) -> None:
        match event:
            case Reset():
                self.rows.clear()
            case RoundOpened():
                self.rows = {name: row for name, row in self.rows.items() if row.round == event.round}
            case Planned():
                self._planned(event)
            case Ended():
                self.ending, self.took = event.ending, time.monotonic() - self.begun
            case Released() | Started() | OutcomeRecorded() if event.subtask in self.rows:
                self._moved(self.rows[event.subtask], event)

    def _planned(self, event: Planned) -> None:
        self.planner, self.notes = event.planner or self.planner, self.notes + event.notes
        for subtask in event.subtasks:
            row = Row(subtask.id, subtask.expert, subtask.instruction, subtask.depends_on, event.round)
            self.rows.setdefault(subtask.id, row)

    def _moved(self, row: Row, event: Released | Started | OutcomeRecorded) -> None:
        if row.state == "solved":
            return
        match event:
            case Released():
                row.state, row.attempt, row.expert = "queued", event.attempt, event.expert or row.expert
            case Started():
                row.state, row.since = "running", time.monotonic()
            case OutcomeRecorded():
                row.state = "failed" if event.failure else "solved"
                row.ms, row.why = event.ms, f"{event.failure.reason}: {event.failure.message}" if event.failure else ""


# -- live ----------------------------------------------------------------------------------------------------------


class _Picture:
    """A view that Rich draws again and again."""

    def __init__(self, view: JobView) -> None:
        self.view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view = self.view
        yield line((_head(view), "bold"))
        rows = list(view.rows.values())
        if len(rows) > SHOWN:
            rows = [row for row in rows if not row.settled][:SHOWN]
        cells = [(flat(row.id), flat(row.expert), _time(row)) for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row, (name, expert, took) in zip(rows, cells, strict=True):
            head = f" {name:<{widths[0]}}  {expert:<{widths[1]}}  {took:>{widths[2]}}  "
            room = max(options.max_width - len(head) - 1, 8)
            yield line(_MARKS[row.state], head, (flat(_about(row), room), "dim"))


def _head(view: JobView) -> str:
    if view.ending is not None:
        plan = f"{len(view.rows):,} subtasks by {view.planner}, " if view.rows else ""
        return f"{plan}{view.ending} in {view.seconds:.2f} s"
    if not view.rows:
        return f"{view.job}  planning, {view.seconds:.1f} s"
    done = sum(row.settled for row in view.rows.values())
    return f"{view.job}  {done:,} of {len(view.rows):,} subtasks settled, {view.seconds:.1f} s"


def _time(row: Row) -> str:
    if row.state == "running":
        return f"{(time.monotonic() - row.since) * 1000:,.0f} ms"
    return f"{row.ms:,} ms" if row.ms is not None else ""


def _about(row: Row) -> str:
    if row.why and row.state != "solved":
        return flat(row.why, 200)
    waits = f"after {listed(row.depends_on, 4)}: " if row.depends_on else ""
    return waits + flat(row.instruction, 200)


# -- showing -------------------------------------------------------------------------------------------------------


class Shower:
    """Shows a view on `console`: redrawn on a terminal, else a line per step. With JSON, not at all."""

    def __init__(self, screen: Screen, console: Console, view: JobView) -> None:
        self.view, self._console = view, console
        self._live = console.is_terminal and not screen.as_json
        self._plain = not console.is_terminal and not screen.as_json

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        if not self._live:
            yield
            return
        with Live(_Picture(self.view), console=self._console, refresh_per_second=10, vertical_overflow="ellipsis"):
            yield

    def take(self, event: AnyEvent) -> None:
        self.view.take(event)
        if self._plain:
            for text in steps(self.view, event):
                self._console.print(line(text), soft_wrap=True)


def steps(view: JobView, event: AnyEvent) -> Iterator[str]:
    """The plain lines for an event that `view` has taken."""
    match event:
        case Planned() if event.failure is None:
            count = len(event.subtasks)
            yield f"plan by {event.planner or 'the planner'}: {count:,} subtask{'s' if count != 1 else ''}"
            for subtask in event.subtasks[:SHOWN]:
                waits = f" after {listed(subtask.depends_on, 4)}" if subtask.depends_on else ""
                yield f"  {subtask.id}  {subtask.expert}{waits}: {flat(subtask.instruction, 90)}"
            if count > SHOWN:
                yield f"  and {count - SHOWN:,} more"
        case Released() if event.attempt > 1:
            yield f"{event.subtask}  {event.expert}  attempt {event.attempt}, in {event.delay} ms"
        case OutcomeRecorded():
            expert = event.expert or view.experts.get(event.subtask, "")
            how = f"failed ({flat(event.failure.message, 200)})" if event.failure else "solved"
            yield f"{event.subtask}  {expert}  {how} in {event.ms} ms"
        case Ended():
            yield f"{event.ending} in {view.seconds:.2f} s"
