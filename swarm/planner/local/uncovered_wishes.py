"""Find the wishes of a request that no subtask of its plan covers, and report them with the plan.

A wish is covered by the subtask that begins with it, or by an expert whose card names the action. Wishes about the form
of the answer ("keep it short", "explain why") need no expert.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from swarm.planner.local.clause_roles import is_context
from swarm.planner.local.conjuncts import HOLDS, pieces
from swarm.planner.local.coverage import unfit
from swarm.planner.local.task import Task
from swarm.text.clause_openings import LINKS, POLITE, acts, verb, word
from swarm.text.clauses import Clause, clauses, folded
from swarm.text.english import (
    ARTICLES,
    CONDITIONS,
    DEEDS,
    LOOKUP,
    MODIFIERS,
    SETTING,
    TELLING,
    VAGUE,
    VERBS,
    WEAK,
    WEAK_STEMS,
    stem,
    stems,
)
from swarm.text.expert_ranking import CLEAR, THRESHOLD, ExpertIndex, Match
from swarm.text.tokens import Token

MOST = 20
"""Wishes that are reported of one request."""
_SHOWN = 80
_SHAPING = (
    (TELLING - frozenset("find gather get retrieve return tell".split()))
    | MODIFIERS
    | SETTING
    | frozenset("be highlight let mention quote state".split())
)
"""Verbs of wishes about the form of the answer."""
_SAYING = frozenset("describe explain give list provide show".split())
"""Of these, verbs that may also ask for the knowledge of another expert."""
_HANDING = frozenset("give provide show".split())
"""Of these, verbs whose object is a part of the answer (`_PARTS`) or a wish of its own."""
_PARTS = frozenset(
    stem(word)
    for word in """address advantage amount answer argument background bullet change code comment comparison con context
    date definition description deadline difference disadvantage error estimate evidence example explanation fact figure
    formula headline hint idea impression insight instruction key language level line link main math meaning name note
    number opinion option order outcome output overview page paragraph percentage point price priority pro proof quote
    reason reasoning recommendation reference result risk score sentence short solution source statistic step suggestion
    sum table time tip title total unit value version way word work year""".split()
)
_ACTS = frozenset("buy delete hire install pay print purchase remove reserve sell".split())
"""Verbs of actions rather than information: the card must have them."""
_ONE = frozenset(("a", "an", "up"))
"""Words behind a verb that makes something: "set an alarm", not "set the language to French"."""
_THINGS = frozenset("charge exchange order refund return".split())
"""Verbs that cards use as nouns: an expert on orders does not order anything."""
_MAKING = frozenset("create generate make send".split())
"""Verbs without a meaning of their own: the expert must make the thing that they name."""
_DETAILS = TELLING | LOOKUP
"""Verbs of sentences that ask for a detail of the wish before them."""
_IT = frozenset("it sure that them this".split())
"""Objects of "make" in phrases such as "make it short"."""
_ASKING = frozenset("how if what when where whether which who why".split())
_TO_ME = _ASKING | {"about", "me", "us"}
_LEADS_TO = frozenset("after before by once then when while".split())
_NEARLY = 0.75
"""Share of the best score from which another expert counts as near."""
_SHORT = 25
"""Words of a clause up to which its lists are checked item by item."""
_LEADING = 5
"""Words at the beginning in which a clause that introduces the wish has its verb."""
_SURE = 1.5 * CLEAR
"""Score that an item of a list needs for an expert that is not in the plan."""
_FOREIGN = 0.3
"""The most that the plan's experts may score on an item, as a share of the score of one outside of the plan."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """A wish, `given[start:end]` of a clause's tokens. `first` marks the one at the beginning of the clause."""

    start: int
    end: int
    first: bool


def left_out(text: str, tasks: Sequence[Task], index: ExpertIndex) -> tuple[str, ...]:
    """Return the wishes that the experts of `tasks` do not cover, each with the expert that gets it."""
    found: dict[str, None] = {}
    experts = {task.expert for task in tasks}
    at, opened = 0, -1
    for clause in clauses(text):
        while at + 1 < len(tasks) and tasks[at + 1].start <= clause.start:
            at += 1
        if len(found) >= MOST or is_context(clause):
            continue
        opens = opened < at and any(index.says(tasks[at].expert, one) for one in clause.wished)
        if clause.wants and opened < at and not opens:
            continue  # it only introduces the wish
        opened = at if opens else opened
        found |= dict.fromkeys(_unclaimed(text, clause, tasks[at].expert, experts, index, opens=opens))
    found |= {_doubtful(text, task, experts, index): None for task in tasks}
    for (start, end), expert in unfit(text, tasks, index, WEAK_STEMS | VAGUE | _PARTS):
        own = folded(text[start:end])
        claimed = _claims(own, expert, experts, index) and _ASKING.isdisjoint(token.text for token in own)
        if not claimed and not any(_shown(text[start:end])[1:-1] in told for told in found):
            found[_left(text[start:end], expert)] = None
    return tuple(filter(None, found))[:MOST]


def _doubtful(text: str, task: Task, experts: set[str], index: ExpertIndex) -> str:
    """Report a task whose expert hardly fits: another scores nearly as high, or its card lacks the verb."""
    first = task.ranked[0]
    done = task.verb in _ACTS and not index.says(first.expert, stem(task.verb))
    if not task.verb or (first.score >= CLEAR and not done):
        return ""
    near = next((match for match in task.ranked[1:] if match.expert not in experts), None)
    other = f"may be for {near.expert}" if near and near.score >= _NEARLY * first.score else ""
    if not other and not done and (not task.joined or index.says(first.expert, stem(task.verb))):
        return ""
    said = _shown(text[slice(*task.part or (task.head, task.end))])
    return f"{said} (given to {first.expert}, {other or 'whose card hardly mentions it'})"


def several(text: str, clause: Clause, expert: str, index: ExpertIndex) -> bool:
    """Whether a clause has a wish that `expert` does not cover."""
    return next(_unclaimed(text, clause, expert, {expert}, index, opens=True), None) is not None


def leads(clause: Clause) -> bool:
    """Whether a clause names an action that must come first: "once reviewed, ..."."""
    return clause.words[:1] != () and clause.words[0] in _LEADS_TO and any(map(_is_doing, clause.words[1:_LEADING]))


def _unclaimed(
    text: str, clause: Clause, expert: str, experts: set[str], index: ExpertIndex, *, opens: bool
) -> Iterator[str]:
    own = text[clause.head : clause.end]
    given = folded(own)
    for wish in _wishes(given):
        if wish.first and not _is_checked(clause, word(given, wish.start), opens=opens):
            continue
        if not _claims(given[wish.start : wish.end], expert, experts, index):
            yield _left(own[given[wish.start].start : given[wish.end - 1].end], expert)
    yield from _for_others(own, given, experts, index)
    if len(given) <= _SHORT:
        yield from _of_nobody(own, given, expert, experts, index)


def _is_checked(clause: Clause, first: str, *, opens: bool) -> bool:
    """Whether the first wish of a clause must be covered: not the one that made it a task, nor a detail of that."""
    if opens:
        return first in _MAKING
    if not clause.soft and not clause.order:
        return clause.asks and clause.verb not in _DETAILS
    return True


def _wishes(given: Sequence[Token]) -> Iterator[_Wish]:
    """Yield the commands of a clause, each up to the next."""
    starts = [0, *(at for at in range(1, len(given)) if _begins(given, at))]
    for start, end in zip(starts, [*starts[1:], len(given)], strict=True):
        while start and start < end and word(given, start) in _JOINING:
            start += 1
        if start < end:
            yield _Wish(start, end, first=start == 0)


_JOINING = LINKS | _LEADS_TO | {",", "or", "please"}


def _begins(given: Sequence[Token], at: int) -> bool:
    said, before = word(given, at), word(given, at - 1)
    if said in _LEADS_TO and _is_doing(word(given, at + 1)):
        return True
    if before in LINKS or before in (",", "or", "then"):
        return said in _THINGS or verb(given, at) or acts(given, at)
    return False


def _is_doing(said: str) -> bool:
    """Whether it is a verb form as in "before mailing it" and "once reviewed"."""
    bare = said.removesuffix("ing").removesuffix("ed")
    return bare != said and (stem(said) in _VERB_STEMS or bare in VERBS)


_VERB_STEMS = frozenset(map(stem, VERBS))


def _claims(own: Sequence[Token], expert: str, experts: set[str], index: ExpertIndex) -> bool:
    """Whether a card of the plan covers this wish, or the wish is only about the form of the answer."""
    at = next((i for i, token in enumerate(own) if token.text not in POLITE), 0)
    said, behind = word(own, at), word(own, at + 1)
    shapes = said in _SHAPING or (said == "tell" and behind in _TO_ME) or (said == "make" and behind in _IT)
    about = [one for one in stems(token.text for token in own[at + 1 :]) if one not in WEAK_STEMS | VAGUE]
    spoken_of = any(index.says(one, thing) for one in experts for thing in about)
    if shapes and said in _SAYING and any(one in index.postings for one in about if one not in _PARTS):
        return spoken_of
    if said in _HANDING and about and about[0] not in _PARTS and _ASKING.isdisjoint(token.text for token in own):
        return spoken_of
    makes_one = said == "set" and behind in _ONE
    if not said[:1].isalpha() or (shapes and not makes_one) or own[0].text in CONDITIONS:
        return True
    if said in _THINGS and about and not spoken_of:
        return False
    if said in DEEDS or said not in WEAK:
        return any(index.says(one, stem(said)) for one in experts)
    return not about or index.says(expert, about[0])


def _for_others(own: str, given: Sequence[Token], experts: set[str], index: ExpertIndex) -> Iterator[str]:
    """Yield the items of a list that fit an expert outside of the plan, and hardly one of the plan."""
    spans = list(pieces(given))
    for start, end in spans if len(spans) > 1 else ():
        meant = stems(token.text for token in given[start:end])
        other, here = _best(meant, experts, index)
        if other is None or other.score < _SURE or here > _FOREIGN * other.score:
            other, here = _best([one for one in meant if one not in _PARTS], experts, index)
            if other is None or other.score < max(THRESHOLD, _NEARLY * here) or here >= CLEAR:
                continue
        yield f"{_shown(own[given[start].start : given[end - 1].end])} (may be for {other.expert})"


def _best(meant: Sequence[str], experts: set[str], index: ExpertIndex) -> tuple[Match | None, float]:
    """Return the best expert outside of the plan, and the best score of the plan's experts."""
    ranked = index.ranked(meant)
    here = max((match.score for match in ranked if match.expert in experts), default=0.0)
    return next((match for match in ranked if match.expert not in experts), None), here


def _of_nobody(own: str, given: Sequence[Token], expert: str, experts: set[str], index: ExpertIndex) -> Iterator[str]:
    """Yield the items of a list of two, "flights to Rome and a hotel", that share no word with the plan's cards."""
    spans = list(pieces(given))
    if len(spans) != 2 or word(given, spans[1][0]) not in ARTICLES or word(given, spans[1][0] - 1) not in LINKS:
        return
    if HOLDS.isdisjoint(token.text for token in given[: spans[1][0]]):
        for start, end in spans:
            said = stems(token.text for token in given[start:end])
            telling = [one for one in said if one not in WEAK_STEMS | VAGUE | _PARTS]
            if telling and not any(index.says(one, each) for one in experts for each in telling):
                yield _left(own[given[start].start : given[end - 1].end], expert)


def _left(said: str, expert: str) -> str:
    return f"{_shown(said)} (left to {expert}, whose card does not speak of it)"


def _shown(said: str) -> str:
    line = " ".join(said.split()).rstrip(".,;!?")
    return f"'{line[: _SHOWN - 1]}…'" if len(line) > _SHOWN else f"'{line}'"
