"""A plan while it is compiled: its steps, what is known of them, and what was found wrong or put right."""

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
"""Of one plan; by far more than sound plans have."""
_DOUBTFUL = "stands in the request or a result too"


@dataclass(frozen=True, slots=True)
class Use:
    """A reference in an instruction; `written` is how the planner put it."""

    target: Target
    path: tuple[str, ...]
    written: str


@dataclass(slots=True)
class DraftedSubtask:
    """A step on its way to a subtask."""

    draft: DraftStep
    place: str
    found: NameMatch
    id: str = ""
    pieces: list[str | Use] = field(default_factory=list)
    """The instruction: text, and the references in it."""
    when: Condition | None = None
    for_each: str = ""

    @property
    def expert(self) -> str:
        return self.found.expert or ""


@dataclass(slots=True)
class CompileContext:
    """Shared by the parts of the compiler. What they find wrong or put right is told here, in order, once each."""

    draft: Draft
    cards: Mapping[str, Card]
    known: frozenset[str]
    mend_edges: bool
    steps: list[DraftedSubtask]
    places: StepReferences
    edges: Edges
    twice: Mapping[str, int]
    """Ids that several steps have as written, and how many."""
    foreign: Foreign = NOTHING
    """What instructions may have copied from texts of others."""
    problems: dict[str, None] = field(default_factory=dict)
    mends: list[Mend] = field(default_factory=list)
    placeholders: int = 0

    def counted(self) -> bool:
        """Count a placeholder. Past the cap it is a problem, and nothing more need be read."""
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
        """A reference or an edge that leads nowhere."""
        if self.mend_edges:
            self.mend(place, f"{quoted(name)} is no step of the plan; dropped")
        else:
            self.problem(place, f"{quoted(name)} is no step of the plan; {self.every_step()}")

    def doubtful(self, at: int, mention: Mention, written: str, place: str) -> None:
        """A reference that may be a copy of a text of others: a problem if it names an id, else it is left as text."""
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
        """The step of this id; a problem if several have it."""
        found = self.places.by_id(name)
        if name in self.twice and found is not None:
            self.problem(place, f"{quoted(name)} is the id of {self.twice[name]} steps; give each its own")
        return found

    def resolved(self, at: int, mention: Mention, written: str, place: str) -> Use | None:
        """What a mention in the step at `at` refers to: a step by its id or number, else the last one of an expert."""
        if (target := self._counted_otherwise(at, mention)) is not None:
            return Use(target, mention.path, written)
        if (named := self.places.named(mention)) is not None and self.is_step(named[0]):
            if mention.form == "said" and isinstance(named[0], int) and named[0] >= at:
                return None  # a sentence about steps, not about their results
            self.by_id(mention.name, place)
            return Use(*named, written)
        if mention.form in ("ours", "loose"):
            before = [i for i in self.places.by_expert(mention.name) if i < at]
            return Use(before[-1], mention.path, written) if before else None
        return None

    def _counted_otherwise(self, at: int, mention: Mention) -> int | None:
        """Planners mix both ways: where one means no earlier step, a declared edge may say that it is the other."""
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
        """What is promised of a result: by the step itself, or by its expert's card."""
        if isinstance(target, str):
            return None
        step = self.steps[target]
        card = self.cards.get(step.expert)
        return step.draft.output if step.draft.output is not None else card.output if card else None


def quoted(text: str) -> str:
    """A planner's own words in a message, not too many of them."""
    return repr(text if len(text) <= 80 else text[:79] + "…")


def said(step: DraftStep) -> str:
    """What a step is about: its instruction, else the texts among its arguments."""
    texts: Sequence[str] = [value[:200] for value in list(step.arguments.values())[:10] if isinstance(value, str)]
    return step.instruction or " ".join(texts)
