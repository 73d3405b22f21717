"""The subtasks of a plan that can begin while the rest of it is still being written.

Only what the finished plan will hardly change: a step that compiles by itself, under its own id, after the steps it
names, with nothing mended but the name of its expert. Everything else waits for the end.
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
"""Compiles a draft whose steps may also name these ids. Raises BadDraft."""


class EarlyDispatch:
    """Reads a plan piece by piece. `begun` is all that was found to be ready; `done` are results that steps may name.

    Each step is compiled once at most, when all that it names is there; of more than `most` the rest is left, and so
    is what would make the plan longer than any may be: each step may repeat the whole request.
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
        """The text begins anew. What had begun stays so."""
        self._pieces = StreamParser(self._experts)
        self._seen: set[str] = set()
        self._waiting: list[DraftStep] = []

    @property
    def steps(self) -> int:
        """Steps with an id of their own that this text has shown so far."""
        return len(self._seen)

    def feed(self, chunk: str) -> tuple[Subtask, ...]:
        """The subtasks that can begin now that this piece of the text has come, each after what it waits for."""
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
        """The subtask of a step, if it is new and nothing but its expert had to be mended."""
        if step.id in known:
            return None
        try:
            result = self._compile(Draft((step,)), known)
        except BadDraft:
            return None
        mended = any(not mend.place.endswith(".expert") for mend in result.mends)
        return None if mended or result.subtasks[0].id != step.id else result.subtasks[0]

    def _names(self, step: DraftStep, known: Collection[str]) -> Iterator[str]:
        """The results that a step names. What is not in our form may name any step, and so is none that is there."""
        yield from step.depends_on
        for mention in mentions(marked(Draft((step,)), known, self._placeholder).steps[0].instruction):
            if not (step.for_each and mention.name == ITEM):
                yield ".".join((mention.name, *mention.path)) if mention.form == "ours" else "?"
        if step.when is not None:
            yield _bare(str(step.when.get("result", "?")))
        if step.for_each:
            yield _bare(step.for_each)

    def _fits(self, subtask: Subtask) -> bool:
        """Whether there is room for it. If so it is taken."""
        size = len(subtask.instruction.encode())
        if size > self._room:
            return False
        self._room -= size
        return True


def _bare(reference: str) -> str:
    return reference.strip().removeprefix("${").removesuffix("}")
