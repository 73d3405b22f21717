"""Find the subtasks of a plan that can begin while the model still writes the rest.

A step can begin if the finished plan will hardly change it: it compiles by itself, under its own id, after the steps it
names, with no repair but that of its expert's name. All other steps wait for the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import compress

from swarm.errors import BadDraft
from swarm.planner.compile.compiler import Compiled
from swarm.planner.compile.foreign_references import REQUEST
from swarm.planner.compile.references import mentions
from swarm.planner.local.planner import MAX_PLAN
from swarm.planner.model.request_placeholder import marked
from swarm.planner.model.stream_parser import StreamParser
from swarm.planner.parse.draft import Draft, DraftStep
from swarm.types.plan import ITEM, Subtask, referenced

Compile = Callable[[Draft, Collection[str]], Compiled]
"""Compiles a draft whose steps may also refer to these ids. Raises BadDraft."""


class EarlyDispatch:
    """Reads a plan piece by piece. `begun` has all subtasks that were ready, `done` results that steps may refer to.

    Each step is compiled at most once, when all results it refers to are known. Steps beyond `most` are left out, and
    so are steps that would make the instructions longer than a plan allows: each may repeat the whole request.
    """

    def __init__(
        self,
        compile: Compile,
        experts: Collection[str],
        done: Collection[str],
        most: int,
        placeholder: str = REQUEST,
    ) -> None:
        self._compile, self._experts, self._done, self._most = compile, experts, done, most
        self._placeholder = placeholder
        self.begun: dict[str, Subtask] = {}
        self._room = MAX_PLAN
        self.restart()

    def restart(self) -> None:
        """Start a new text. Subtasks that have begun stay in `begun`."""
        self._pieces = StreamParser(self._experts)
        self._seen: set[str] = set()
        self._waiting: list[DraftStep] = []

    @property
    def steps(self) -> int:
        """The number of different step ids that this text has had so far."""
        return len(self._seen)

    def feed(self, chunk: str) -> tuple[Subtask, ...]:
        """Read the next piece of the text; return the subtasks that can begin now, each after those it waits for."""
        fresh = self._pieces.feed(chunk)
        if not fresh:
            return ()
        for step in fresh:
            if step.id and step.id not in self._seen and len(self._seen) < self._most:
                self._waiting.append(step)
            self._seen.add(step.id)
        return tuple(self._ready())

    def _ready(self) -> Iterator[Subtask]:
        found = True
        while found:
            known = {*self._done, *self.begun}
            met = [all(referenced(name, known) for name in self._names(step, known)) for step in self._waiting]
            named = list(compress(self._waiting, met))
            self._waiting = [step for step, there in zip(self._waiting, met, strict=True) if not there]
            alone = [s for step in named if (s := self._alone(step, known)) is not None and self._fits(s)]
            self.begun |= {subtask.id: subtask for subtask in alone}
            found = bool(alone)
            yield from alone

    def _alone(self, step: DraftStep, known: Collection[str]) -> Subtask | None:
        """Compile a step by itself; None if it is not new, or more than its expert had to be repaired."""
        if step.id in known:
            return None
        try:
            result = self._compile(Draft((step,)), known)
        except BadDraft:
            return None
        mended = any(not mend.place.endswith(".expert") for mend in result.mends)
        return None if mended or result.subtasks[0].id != step.id else result.subtasks[0]

    def _names(self, step: DraftStep, known: Collection[str]) -> Iterator[str]:
        """Yield the results that a step refers to. A reference in a foreign form is unclear and matches none."""
        yield from step.depends_on
        for mention in mentions(marked(Draft((step,)), known, self._placeholder).steps[0].instruction):
            if not (step.for_each and mention.name == ITEM):
                yield ".".join((mention.name, *mention.path)) if mention.form == "ours" else "?"
        if step.when is not None:
            yield _bare(str(step.when.get("result", "?")))
        if step.for_each:
            yield _bare(step.for_each)

    def _fits(self, subtask: Subtask) -> bool:
        """Reserve room for an instruction; return whether there was enough."""
        size = len(subtask.instruction.encode())
        if size > self._room:
            return False
        self._room -= size
        return True


def _bare(reference: str) -> str:
    return reference.strip().removeprefix("${").removesuffix("}")
