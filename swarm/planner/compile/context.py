"""The state of a plan while it is compiled: its steps, edges, problems and repairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.planner.compile.expert_names import NameMatch
from swarm.planner.compile.foreign_references import NOTHING, Foreign
from swarm.planner.compile.graph import Edges
from swarm.planner.compile.references import Mention, StepReferences, Target
from swarm.planner.parse.draft import Draft, DraftStep
from swarm.types.card import Card
from swarm.types.plan import ITEM, Condition
from swarm.types.result import Mend

MAX_PROBLEMS = 50
MAX_MENDS = 500
MAX_PLACEHOLDERS = 1_000
"""References in one plan; real plans have far fewer."""
_DOUBTFUL = "stands in the request or a result too"


@dataclass(frozen=True, slots=True)
class Use:
    """A reference in an instruction; `written` is its original text."""

    target: Target
    path: tuple[str, ...]
    written: str


@dataclass(slots=True)
class DraftedSubtask:
    """A step while it is compiled into a subtask."""

    draft: DraftStep
    place: str
    found: NameMatch
    id: str = ""
    pieces: list[str | Use] = field(default_factory=list)
    """The instruction as text and references."""
    when: Condition | None = None
    for_each: str = ""

    @property
    def expert(self) -> str:
        return self.found.expert or ""


@dataclass(slots=True)
class CompileContext:
    """State shared by the parts of the compiler. It collects each problem once, and the repairs in order."""

    draft: Draft
    cards: Mapping[str, Card]
    known: frozenset[str]
    mend_edges: bool
    steps: list[DraftedSubtask]
    places: StepReferences
    edges: Edges
    twice: Mapping[str, int]
    """Ids that more than one step has, with the number of these steps."""
    foreign: Foreign = NOTHING
    """References in the request and in results, which instructions may have copied."""
    problems: dict[str, None] = field(default_factory=dict)
    mends: list[Mend] = field(default_factory=list)
    placeholders: int = 0

    def counted(self) -> bool:
        """Count a placeholder; return False, with a problem reported, once the plan has too many."""
        self.placeholders += 1
        if self.placeholders > MAX_PLACEHOLDERS:
            self.problem("steps", f"more than {MAX_PLACEHOLDERS:,} placeholders; plan fewer steps")
        return self.placeholders <= MAX_PLACEHOLDERS

    def problem(self, place: str, what: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems[f"{place}: {what}"] = None

    def mend(self, place: str, what: str) -> None:
        if len(self.mends) < MAX_MENDS:
            self.mends.append(Mend(place=place, what=what))

    def dangling(self, place: str, name: str) -> None:
        """Report a reference or an edge to a step that does not exist."""
        if self.mend_edges:
            self.mend(place, f"{quoted(name)} is no step of the plan; dropped")
        else:
            self.problem(place, f"{quoted(name)} is no step of the plan; {self.every_step()}")

    def doubtful(self, at: int, mention: Mention, written: str, place: str) -> None:
        """Report a reference that may copy foreign text: a problem if it names an id, otherwise it stays text."""
        parts = (mention.name, *mention.path)
        ids = {name: self.places.by_id(name) for name in (".".join(parts[:end]) for end in range(len(parts), 0, -1))}
        target = next((to for name, to in ids.items() if to == name or isinstance(to, int)), None)
        if target is not None:
            remedy = (
                f"leave it out here, {quoted(target)} in depends_on is enough"
                if isinstance(target, str)
                else f"give that step another id, such as {self.foreign.ids}{target + 1}, and use that"
            )
            self.problem(place, f"{quoted(written)} {_DOUBTFUL}, so it may be a copy of it; {remedy}")
        elif self._is_item(at, mention) or self.resolved(at, mention, written, place) is not None:
            self.mend(place, f"{quoted(written)} {_DOUBTFUL}; left as text")

    def _is_item(self, at: int, mention: Mention) -> bool:
        return mention.name == ITEM and bool(self.steps[at].draft.for_each)

    def every_step(self) -> str:
        every = [*(step.id for step in self.steps), *sorted(self.known)]
        return f"the steps are {', '.join(every[:12])}" + (f" and {len(every) - 12} more" if len(every) > 12 else "")

    def by_id(self, name: str, place: str) -> Target | None:
        """Return the step with this id; report a problem if several steps have it."""
        found = self.places.by_id(name)
        if name in self.twice and found is not None:
            self.problem(place, f"{quoted(name)} is the id of {self.twice[name]} steps; give each its own")
        return found

    def resolved(self, at: int, mention: Mention, written: str, place: str) -> Use | None:
        """Resolve a mention in the step at `at`: to a step by id or number, otherwise to the last one of an expert."""
        if (target := self._counted_otherwise(at, mention)) is not None:
            return Use(target, mention.path, written)
        if (named := self.places.named(mention)) is not None and self.is_step(named[0]):
            if mention.form == "said" and isinstance(named[0], int) and named[0] >= at:
                return None  # the sentence speaks of steps, not of their results
            self.by_id(mention.name, place)
            return Use(*named, written)
        if mention.form in ("ours", "loose"):
            before = [i for i in self.places.by_expert(mention.name) if i < at]
            return Use(before[-1], mention.path, written) if before else None
        return None

    def _counted_otherwise(self, at: int, mention: Mention) -> int | None:
        """Return the step from the other base of counting, since models mix both.

        It counts if the usual base gives no earlier step and a declared edge leads to this one.
        """
        if mention.form not in ("ours", "marked") or self.places.number(mention.name) is None:
            return None
        usual, other = self.places.numbered(mention.name), self.places.counted_otherwise(mention.name)
        lost = usual is None or usual >= at
        return other if lost and other in self.edges.waits[at] else None

    def is_step(self, target: Target) -> bool:
        return isinstance(target, str) or 0 <= target < len(self.steps)

    def id(self, target: Target) -> str:
        return target if isinstance(target, str) else self.steps[target].id

    def reference(self, target: Target, path: Iterable[str] = ()) -> str:
        return f"${{{'.'.join((self.id(target), *path))}}}"

    def schema(self, target: Target) -> Mapping[str, Any] | None:
        """Return the schema of a result: the step's own, otherwise that of its expert's card."""
        if isinstance(target, str):
            return None
        step = self.steps[target]
        card = self.cards.get(step.expert)
        return step.draft.output if step.draft.output is not None else card.output if card else None


def quoted(text: str) -> str:
    """Quote a text of the plan in a message, shortened."""
    return repr(text if len(text) <= 80 else text[:79] + "…")


def said(step: DraftStep) -> str:
    """Return the text of a step: its instruction, otherwise the strings among its arguments."""
    texts: Sequence[str] = [value[:200] for value in list(step.arguments.values())[:10] if isinstance(value, str)]
    return step.instruction or " ".join(texts)
