"""Show a running job: its events become rows, drawn live on a terminal and printed as plain lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from swarm.broker.deltas import ANSWER, Delta
from swarm.cli.base.console import Screen, clean, flat, headline, line, listed
from swarm.cli.render.answer import fallback_note
from swarm.engine.progress import Graph, Progress, SubtaskState, parent_id
from swarm.engine.reducer import fold
from swarm.types.answer import Ending
from swarm.types.events import AnyEvent, Ended, OutcomeRecorded, Planned, Released, Reset, RoundOpened, Started
from swarm.types.plan import Subtask
from swarm.types.result import Mend

SHOWN = 24
"""Rows of a live view. Of a larger plan only the unsettled subtasks are shown."""
WRITTEN = 12
"""Last lines that are shown of an answer while it is written."""
_MARKS = {
    "waiting": ("·", "dim"),
    "queued": ("·", ""),
    "running": ("▸", "yellow"),
    "solved": ("✓", "green"),
    "failed": ("✗", "red"),
    "expanded": ("▸", "yellow"),
    "skipped": ("–", "dim"),
    "dropped": ("✗", "dim"),
    "withdrawn": ("–", "dim"),
}
NO_PLAN = "the planner's model gave no plan"
"""Beginning of the note that a planner leaves when it falls back (swarm/planner/planner.py)."""
_SETTLED = ("solved", "failed", "skipped", "dropped", "withdrawn")


@dataclass
class JobRow:
    """One subtask, or one item of it, as known from the job's events."""

    id: str
    expert: str
    instruction: str
    depends_on: tuple[str, ...]
    why: str = ""
    """Reason of the planner for this expert."""
    state: str = "waiting"
    reason: str = ""
    """Reason of the state: the last failure, or why it was skipped."""
    ms: int | None = None
    started: int = 0
    """The last attempt that has started."""
    since: float = 0.0

    @property
    def settled(self) -> bool:
        return self.state in _SETTLED

    def document(self) -> dict[str, Any]:
        names = ("id", "expert", "why", "instruction", "depends_on", "state", "reason", "ms")
        return {name: getattr(self, name) for name in names}


@dataclass
class JobView:
    """A job as known from its events. Its rows come from the same reducer of the log that the router uses."""

    job: str
    rows: dict[str, JobRow] = field(default_factory=dict)
    planner: str = ""
    notes: tuple[str, ...] = ()
    mends: tuple[Mend, ...] = ()
    ending: Ending | None = None
    begun: float = field(default_factory=time.monotonic)
    took: float | None = None
    fresh: tuple[str, ...] = ()
    """Rows that the last event added."""
    turned: tuple[str, ...] = ()
    """Rows whose state the last event changed."""
    written: str = ""
    """The answer as far as a model has written it."""
    _progress: Progress = field(default_factory=Progress)
    _why: dict[str, str] = field(default_factory=dict)
    _known: tuple[Graph, dict[str, Subtask]] = field(default_factory=lambda: (Graph(), {}))

    @property
    def seconds(self) -> float:
        return self.took if self.took is not None else time.monotonic() - self.begun

    @property
    def experts(self) -> dict[str, str]:
        return {row.id: row.expert for row in self.rows.values()}

    @property
    def unplanned(self) -> str:
        """Why the planner's model gave no plan, and which planner replaced it; else empty."""
        why = next((note for note in self.notes if note.startswith(NO_PLAN)), "")
        return f"{flat(why, 300)}; {self.planner} planned instead" if why else ""

    def take(self, event: AnyEvent) -> None:
        before = self._progress
        if isinstance(event, Reset):
            self._progress = Progress()
        elif not isinstance(event, Started):  # it only ends a delay, which no row shows
            self._progress = fold(before, (event,))
        match event:
            case Reset():
                self.rows.clear()
            case Planned():
                self._planned(event)
            case Ended():
                self.ending, self.took = event.ending, time.monotonic() - self.begun
        self._update(before)
        if isinstance(event, Released | Started | OutcomeRecorded) and event.subtask in self.rows:
            self._moved(self.rows[event.subtask], event)

    def grow(self, delta: Delta) -> None:
        """Add a piece of the answer."""
        if delta.subtask == ANSWER:
            self.written = ("" if delta.reset else self.written) + delta.text

    def _planned(self, event: Planned) -> None:
        self.planner, self._why = event.planner or self.planner, self._why | event.why
        if event.closed:  # the closing event repeats the notes of the earlier ones
            self.notes, self.mends = self.notes + event.notes, self.mends + event.mends
        for row in self.rows.values():
            row.why = self._why.get(parent_id(row.id), row.why)

    def _update(self, before: Progress) -> None:
        """Update the rows of subtasks whose state has changed."""
        old = before.steps
        fresh, turned = [], []
        for name, step in self._progress.steps.items() if self._progress is not before else ():
            if step is old.get(name):
                continue
            row = self.rows.get(name)
            if step.state == "withdrawn" and (row is None or row.state not in ("failed", "dropped", "withdrawn")):
                self.rows.pop(name, None)  # it is not in the finished plan, or a lost planner started it
                continue
            if row is None:
                row = self.rows[name] = self._row(name, self._subtasks[parent_id(name)])
                fresh.append(name)
            state = row.state
            self._follow(row, step)
            turned += [name] if row.state != state else []
        if any(name != parent_id(name) for name in fresh):
            self._sort()
        self.fresh, self.turned = tuple(fresh), tuple(turned)

    @property
    def _subtasks(self) -> dict[str, Subtask]:
        graph = self._progress.graph
        if self._known[0] is not graph:
            self._known = graph, {subtask.id: subtask for subtask in graph.subtasks}
        return self._known[1]

    def _row(self, name: str, subtask: Subtask) -> JobRow:
        return JobRow(name, subtask.expert, subtask.instruction, subtask.depends_on, self._why.get(subtask.id, ""))

    def _follow(self, row: JobRow, step: SubtaskState) -> None:
        match step.state:
            case "running":
                row.state = "running" if row.started == step.attempt else "queued"
            case "retrying":
                row.state = "queued"
            case _:
                row.state = step.state
        if step.state == "dropped":
            row.reason = step.message or f"waited for {step.because}, which failed"
        elif step.state in ("skipped", "failed", "retrying"):
            row.reason = f"{step.reason}: {step.message}" if step.reason else step.message
        elif step.state == "expanded":
            row.reason = f"{step.items:,} items"

    def _moved(self, row: JobRow, event: Released | Started | OutcomeRecorded) -> None:
        match event:
            case Released():
                row.expert = event.expert or row.expert
            case Started() if not row.settled:
                row.state, row.started, row.since = "running", event.attempt, time.monotonic()
            case OutcomeRecorded() if event.failure is None or row.state != "solved":
                row.ms = event.ms

    def _sort(self) -> None:
        """Put items after their `for_each` subtask."""
        place = {subtask.id: number for number, subtask in enumerate(self._progress.graph.subtasks)}
        ordered = sorted(self.rows, key=lambda name: (place[parent_id(name)], int(name.partition("#")[2] or 0)))
        self.rows = {name: self.rows[name] for name in ordered}


# -- live ----------------------------------------------------------------------------------------------------------


class _Picture:
    """A view that Rich redraws."""

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
        if view.ending is None:  # after the ending the whole answer is printed
            yield from _growing(view.written, console, options)


def _growing(text: str, console: Console, options: ConsoleOptions) -> Iterable[Text]:
    """Yield the last `WRITTEN` lines of a text."""
    if text:
        end = Text(clean(text[-WRITTEN * options.max_width :]))
        yield Text()
        yield from end.wrap(console, options.max_width)[-WRITTEN:]


def _head(view: JobView) -> str:
    if view.ending is not None:
        plan = f"{len(view.rows):,} subtasks by {view.planner}, " if view.rows else ""
        return f"{plan}{view.ending} in {view.seconds:.2f} s"
    if not view.rows:
        return f"{view.job}  planning, {view.seconds:.1f} s"
    done = sum(row.settled for row in view.rows.values())
    return f"{view.job}  {done:,} of {len(view.rows):,} subtasks settled, {view.seconds:.1f} s"


def _time(row: JobRow) -> str:
    if row.state == "running":
        return f"{(time.monotonic() - row.since) * 1000:,.0f} ms"
    return f"{row.ms:,} ms" if row.ms is not None else ""


def _about(row: JobRow) -> str:
    if row.reason and row.state != "solved":
        return flat(row.reason, 200)
    waits = f"after {listed(row.depends_on, 4)}: " if row.depends_on else ""
    return waits + headline(row.instruction, 200)


# -- showing -------------------------------------------------------------------------------------------------------


class JobDisplay:
    """Shows a view on `console`: redrawn on a terminal, else one line per step. With JSON it shows nothing."""

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

    @contextlib.asynccontextmanager
    async def watching(self, deltas: AsyncIterator[Delta]) -> AsyncIterator[None]:
        """Show the growing answer on a terminal during the block. Its failures are ignored: the job goes on."""
        if not self._live:
            yield
            return
        task = asyncio.create_task(self._grow(deltas))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _grow(self, deltas: AsyncIterator[Delta]) -> None:
        async for delta in deltas:
            self.view.grow(delta)

    def take(self, event: AnyEvent) -> None:
        self.view.take(event)
        if self._plain:
            for text in steps(self.view, event):
                self._console.print(line(text), soft_wrap=True)


def steps(view: JobView, event: AnyEvent) -> Iterator[str]:
    """Yield the plain lines for an event that `view` has taken."""
    match event:
        case RoundOpened() if event.round > 1:
            yield f"planning again, round {event.round}"
        case Planned() if event.failure is None:
            if event.closed:
                count = len(event.subtasks)
                yield f"plan by {event.planner or 'the planner'}: {count:,} subtask{'s' if count != 1 else ''}"
            yield from _new_rows(view.rows[name] for name in view.fresh)
        case Released() if event.attempt > 1:
            yield f"{event.subtask}  {event.expert}  attempt {event.attempt}, in {event.delay} ms"
        case OutcomeRecorded():
            expert = event.expert or view.experts.get(event.subtask, "")
            how = f"failed ({flat(event.failure.message, 200)})" if event.failure else "solved"
            by = fallback_note(event.model, event.failed_models)
            yield f"{event.subtask}  {expert}  {how} in {event.ms} ms" + (f" {by}" if by else "")
        case Ended():
            yield f"{event.ending} in {view.seconds:.2f} s"
    for name in view.turned[:SHOWN]:
        row = view.rows[name]
        if row.state in ("skipped", "expanded", "withdrawn"):
            yield f"{name}  {row.expert}  {row.state}" + (f": {flat(row.reason, 200)}" if row.reason else "")
        elif row.state == "failed" and not (isinstance(event, OutcomeRecorded) and event.subtask == name):
            yield f"{name}  {row.expert}  failed ({flat(row.reason, 200)})"  # it failed without an attempt


def _new_rows(rows: Iterable[JobRow]) -> Iterator[str]:
    """Yield lines for new rows."""
    every = list(rows)
    for row in every[:SHOWN]:
        waits = f" after {listed(row.depends_on, 4)}" if row.depends_on else ""
        yield f"  {row.id}  {row.expert}{waits}: {headline(row.instruction, 90)}"
    if len(every) > SHOWN:
        yield f"  and {len(every) - SHOWN:,} more"
