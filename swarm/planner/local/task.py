"""A task: a part of the request that goes to one expert, and how more of the request joins it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from swarm.text.clause_openings import Order
from swarm.text.clauses import Clause
from swarm.text.expert_ranking import Match

Span = tuple[int, int]


@dataclass(slots=True)
class Task:
    """`text[start:end]` goes to one expert; what it is told begins at `head`."""

    start: int
    end: int
    head: int
    ranked: Sequence[Match]
    words: list[str]
    meant: list[str]
    said: set[str] = field(default_factory=set)
    """`meant` as a set: it is asked for every clause behind."""
    order: Order = ""
    quote: Span | None = None
    """From the first quotation that it holds to the end of the last."""
    context: Span | None = None
    """From the first clause of context that joined it to the end of the last."""
    context_meant: list[str] = field(default_factory=list)
    part: Span | None = None
    """What of a clause for several experts is this one's."""
    joined: bool = False
    """A comma or "and" joins it to the clause before."""
    verb: str = ""
    """What its last clause opens with: the verb that commands, else its first word."""
    wants: bool = False
    """It says what is wanted and not yet what is to be done: the next clause may say that."""
    helps: bool = False
    """It asks for help with something: what with, the next clause may say."""
    announces: bool = False
    """Its clause ends in a colon: the items behind are about it unless they ask for something."""
    lists: bool = False
    """A statement that joined it ends in a colon: the items behind are what it lists, commands or not."""

    @property
    def expert(self) -> str:
        return self.ranked[0].expert

    def beside(self, other: Task) -> bool:
        """Whether both are parts of one clause."""
        return self.part is not None and other.part is not None and self.head == other.head

    def take(self, clause: Clause, *, context: bool) -> None:
        """Let the clause behind it be said to its expert: as context, or as more of what is to be done."""
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
