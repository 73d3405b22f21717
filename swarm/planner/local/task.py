"""A task is a part of the request for one expert; later clauses may join it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from swarm.text.clause_openings import Order
from swarm.text.clauses import Clause
from swarm.text.expert_ranking import Match

Span = tuple[int, int]


@dataclass(slots=True)
class Task:
    """The part `text[start:end]` of the request for one expert. Its instruction begins at `head`."""

    start: int
    end: int
    head: int
    ranked: Sequence[Match]
    words: list[str]
    meant: list[str]
    said: set[str] = field(default_factory=set)
    """`meant` as a set, for look-ups by every later clause."""
    order: Order = ""
    quote: Span | None = None
    """The span from the first of its quotations to the end of the last."""
    context: Span | None = None
    """The span from the first clause of context that joined it to the end of the last."""
    context_meant: list[str] = field(default_factory=list)
    part: Span | None = None
    """This expert's part of a clause for several experts."""
    joined: bool = False
    """Whether a comma or "and" joins it to the clause before."""
    verb: str = ""
    """The verb of its last clause that commands, otherwise the first word of that clause."""
    wants: bool = False
    """Whether it says what is wanted but not what to do, which the next clause may say."""
    helps: bool = False
    """Whether it asks for help; the next clause may say with what."""
    announces: bool = False
    """Whether its clause ends in a colon: the items behind belong to it unless they ask for something."""
    lists: bool = False
    """Whether a statement that joined it ends in a colon: the items behind belong to it, even commands."""

    @property
    def expert(self) -> str:
        return self.ranked[0].expert

    def beside(self, other: Task) -> bool:
        """Whether both are parts of one clause."""
        return self.part is not None and other.part is not None and self.head == other.head

    def take(self, clause: Clause, *, context: bool) -> None:
        """Add the clause behind it to its instruction: as context, or as more to do."""
        self.end = clause.end
        self.quote = _hull(self.quote, clause.quote)
        if context:
            self.context = _hull(self.context, (clause.head, clause.end))
            self.context_meant += clause.meant
        else:
            self.words += clause.words
            self.meant += clause.meant
            self.said.update(clause.meant)


def _hull(one: Span | None, other: Span | None) -> Span | None:
    return (min(one[0], other[0]), max(one[1], other[1])) if one and other else one or other
