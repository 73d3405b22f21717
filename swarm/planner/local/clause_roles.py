"""Decide the role of a clause: a task of its own, a part of the task before, or context of a neighbour.

A clause that fits an expert is a task, unless it continues the task before: after a wish ("I need X. Please find ...")
or by referring to something already mentioned. A clause that fits none joins a neighbour if it looks like context (a
quotation, a statement, a greeting, a wish about how, a detail that is asked for); otherwise the request is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from swarm.planner.local.task import Task
from swarm.text.clauses import Clause
from swarm.text.english import (
    AUXILIARIES,
    CONDITIONS,
    COURTESY,
    DETAILING,
    LOOKUP,
    MATERIAL,
    MODALS,
    MODIFIERS,
    PLEASANT,
    PLEASANTRIES,
    SETTING,
    STOP,
    SUBJECTS,
    TELLING,
    VAGUE,
    VERBS,
    WEAK,
    WEAK_STEMS,
    WISHES,
    stem,
    stems,
)
from swarm.text.expert_ranking import CLEAR, THRESHOLD, ExpertIndex, Match

Role = Literal["task", "before", "after", "part", "refused"]
"""In order: a task of its own, context of the next task, context of the one before, a part of that, fits nothing."""

_EMPTY = VAGUE | WEAK_STEMS
_HELP = frozenset("assist assistance help support".split())
_LEARNING = frozenset("information know learn understand".split())
_INTENDS = frozenset((("i", "will"), ("we", "will")))
_KNOWN = frozenset("its that the their these this those".split())
_PRONOUNS = frozenset("it its them their".split())
_SUBORDINATE = frozenset("how if that to whether which who".split())
_THINGS = frozenset(stem(word) for word in MATERIAL)
"""Nouns in expert names that do not limit what they do: a "translate-text" translates anything."""
_NEAR = 0.7
"""Share of the best score that the previous task's expert needs for a clause that refers to the same thing."""
_BY_FAR = 2 * CLEAR
"""Score that an expert needs for a clause that looks like a detail of another expert's task."""
_FAINT = 0.4
"""Two clauses are about one thing if one scores at most this share of the other."""


def fits(ranked: Sequence[Match]) -> bool:
    return bool(ranked) and ranked[0].score >= THRESHOLD


def role(
    clause: Clause, following: Clause | None, ranked: Sequence[Match], last: Task | None, index: ExpertIndex
) -> Role:
    """Decide the role of a clause between the task before and the clause behind; `ranked` are the experts that fit."""
    if following and following.soft and _leads(clause):
        return "before"
    if is_context(clause) or (last and _is_about(clause, last, ranked)):
        return "after"
    if fits(ranked):
        joins = clause.soft and last and (_same(clause, last, ranked) or _is_thin(clause, ranked[0], index))
        return "part" if joins else "task"
    if clause.announces or (following and (_introduces(clause, following) or _is_explained_by(clause, following))):
        return "before"
    if _says_how(clause) or _labels(clause) or _EMPTY.issuperset(clause.meant) or (last and elaborates(clause, last)):
        return "after"
    return "part" if clause.soft and last and _leans(clause, last) else "refused"


def undecided(clause: Clause, following: Clause | None, last: Task | None) -> Role:
    """Decide the role of a clause that fits two experts equally: context of a neighbour if possible."""
    if last and not clause.order and (elaborates(clause, last) or not _PRONOUNS.isdisjoint(clause.words)):
        return "after"
    return "before" if clause.wants and following and not following.order else "refused"


def helps(clause: Clause) -> bool:
    """Whether it asks for help with something: "I need assistance with my taxes"."""
    return clause.wants and not _HELP.isdisjoint(clause.words[:8])


# -- what leads to the next clause -----------------------------------------------------------------------------


def _leads(clause: Clause) -> bool:
    """Whether the wish itself follows a comma or "and": "when you have found it, ...".

    The same holds if only the object of its verb follows: "check and cancel my booking".
    """
    bare = clause.verb in LOOKUP and not clause.quote and len(clause.meant) < 2
    return bare or (bool(clause.words) and clause.words[0] in CONDITIONS)


def _introduces(clause: Clause, following: Clause) -> bool:
    """Whether the clause only introduces the next: "As you know, ...", "I need some information about this: ..."."""
    wishes = clause.asks or clause.acts or clause.words[0] in VERBS
    return (following.soft and not wishes) or not VAGUE.isdisjoint(clause.meant[:3])


def _is_explained_by(clause: Clause, following: Clause) -> bool:
    """Whether the next sentence says what this one wants to know: "I want to learn about cats. Find ..."."""
    explains = following.verb in TELLING and not following.order
    return clause.wants and explains and not _LEARNING.isdisjoint(clause.words)


# -- what says more about the task before ----------------------------------------------------------------------


def is_context(clause: Clause) -> bool:
    """Whether the clause is a quotation, a greeting, a statement or a mere reference, and so no task."""
    meant = clause.meant
    if not meant or _offers(clause.words):
        return True
    if is_pleasant(clause):
        return True
    courteous = clause.words[0] in COURTESY and len(clause.words) <= 6 and not clause.asks
    if courteous and (clause.words[0] != "thank" or clause.words[1:2] == ("you",)):
        return True
    return _states(clause) or VAGUE.issuperset(meant) or _names_a_text(clause)


def is_pleasant(clause: Clause) -> bool:
    """Whether it is a pleasantry: "I hope you are well", "nothing fancy", "best regards, Kim"."""
    words = [word for word in clause.words if word[0].isalpha()]
    if clause.verb and clause.verb not in _WISHED and words[1:2] != ["forward"]:
        return False
    if not words or (words[0] == "thank" and words[1:2] != ["you"]):
        return False  # "thank the team" is something to be done
    if len(words) <= _SIGNED and not clause.verb and (words[0] in _SIGNING or "regards" in words[:3]):
        return True
    said = [word for word in words if word not in STOP]
    if "hope" in words[:2]:
        said = [word for word in said if word not in _HOPED]
    return not PLEASANTRIES.isdisjoint(words) and PLEASANT.issuperset(said)


_WISHED = frozenset("have take thank".split())
_SIGNING = frozenset("cheers love regards sincerely yours".split())
_SIGNED = 6
"""Words of a signature."""
_HOPED = frozenset("email find finds letter mail message note".split())
"""Words in which pleasantries refer to the message: "I hope this email finds you well"."""


def _offers(words: Sequence[str]) -> bool:
    """Whether it is a courtesy at the end: "please let me know if you have any questions"."""
    return words[:1] in (("let",), ("please",)) and any(
        words[at : at + 2] == ("know", "if") and words[at + 2 : at + 3] == ("you",) for at in range(2, 4)
    )


def _names_a_text(clause: Clause) -> bool:
    """Whether it is only a quoted text with its label: 'Message: "..."'."""
    return clause.quote is not None and clause.words[-1] == ":" and not clause.verb and _THINGS.issuperset(clause.meant)


def _states(clause: Clause) -> bool:
    """Whether the clause states something and wants nothing: "my parcel arrived broken"."""
    if clause.asks or WISHES.intersection(clause.words[:10]) or (clause.wants and clause.order):
        return False
    if "will" in clause.words[:13] and _intends(clause.words):
        return False
    first, second = clause.words[0], clause.words[1] if len(clause.words) > 1 else ""
    return first in SUBJECTS or bool(AUXILIARIES.intersection(clause.words[1:4])) or second.endswith("ed")


def _intends(words: Sequence[str]) -> bool:
    """Whether the words announce an action of the user: "I will find"; not "I will be"."""
    return any((one, two) in _INTENDS and then not in ("be", "have") for one, two, then in _threes(words))


def _threes(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return zip(words[:12], words[1:13], words[2:14], strict=False)


def _is_about(clause: Clause, last: Task, ranked: Sequence[Match]) -> bool:
    """Whether the clause describes the task before: "the reply should be short", "specifically, ...", a list item.

    Wishes of third persons count as well, unless they clearly fit another expert.
    """
    if clause.words[0] in DETAILING:
        return True
    own = not ranked or ranked[0].score < _BY_FAR or ranked[0].expert == last.expert
    if last.lists and (clause.item or clause.soft):
        return own
    if clause.verb in MODIFIERS and clause.verb != "use" and not clause.order:
        return own
    if clause.asks or clause.order:
        return False
    if clause.words[0] in SUBJECTS and not clause.wants:
        other = bool(ranked) and ranked[0].score >= CLEAR and ranked[0].expert != last.expert
        return not other or not (WISHES - MODALS).intersection(clause.words[:10])
    return last.announces and clause.item


def _says_how(clause: Clause) -> bool:
    sets = clause.verb in SETTING and not clause.order and not clause.item
    return sets or clause.words[0] in MODIFIERS or clause.verb in MODIFIERS


def _labels(clause: Clause) -> bool:
    """Whether it is a labelled fact: "Order: 77"."""
    return not clause.asks and ":" in clause.words[1:4]


def elaborates(clause: Clause, last: Task) -> bool:
    """Whether a sentence that fits no expert adds to the task before.

    It begins nothing new, and it states something or asks for a detail of a known thing ("please provide the name of
    the artist"). A new command ("bake the cake") is no detail.
    """
    if clause.order or clause.soft or clause.item:
        return False
    if not clause.asks:
        return clause.words[0] in SUBJECTS and not clause.wants
    known = not _KNOWN.isdisjoint(clause.words) or not last.said.isdisjoint(clause.meant)
    return known and (clause.verb in TELLING or (clause.wants and not clause.verb))


def _is_thin(clause: Clause, best: Match, index: ExpertIndex) -> bool:
    """Whether an expert shares only one word with a longer clause and has another thing in its name.

    "Find the refund rules" is for a "refund-policy", but "and identify areas" is not for an "identify-virus".
    """
    telling = [one for one in clause.meant if one not in _EMPTY and one not in _THINGS]
    shared = [one for one in telling if index.says(best.expert, one)]
    if len(shared) >= 2 or len(telling) < 2:
        return False
    named = [one for one in stems(best.expert.split("-")) if one not in _EMPTY and one not in _THINGS]
    things = [one for one in telling if not clause.verb or one not in stems((clause.verb,))]
    called = [any(one.startswith(said) or said.startswith(one) for said in telling) for one in named]
    return not all(called) and not any(one in things for one in named)


def _leans(clause: Clause, last: Task) -> bool:
    """Whether "and ..." depends on the clause before: "and tell me", "and compare it with ...", "and find them"."""
    weak = clause.words[0] in WEAK or not _PRONOUNS.isdisjoint(clause.words[1:3]) or _takes_up(clause, last)
    return weak or not _SUBORDINATE.isdisjoint(last.words[:40])


# -- what goes on with the task before -------------------------------------------------------------------------


def continued(clause: Clause, last: Task, ranked: Sequence[Match], index: ExpertIndex) -> Sequence[Match]:
    """Return the experts that fit a task together with the clause behind it; none if the clause begins something new.

    A clause continues a task if it begins nothing new and fits the same expert, after a wish or because it refers to
    something known without repeating the command ("Find A. Find B." are two). The expert of a vague wish is chosen
    by the wish and the clause behind it together.
    """
    if clause.item or clause.soft or clause.words[0] in CONDITIONS or clause.order not in ("", "also"):
        return ()
    if clause.order:
        detail = clause.verb in TELLING and clause.verb != last.verb and not _KNOWN.isdisjoint(clause.words)
        return last.ranked if detail and last.expert == ranked[0].expert else ()
    if _same(clause, last, ranked):
        return last.ranked if last.wants or _points(clause, last) else ()
    if not last.wants or not ((last.helps and not _is_other(last, ranked)) or _is_detail_of(clause, last, ranked)):
        return ()
    both = index.ranked(tuple(dict.fromkeys((*last.meant, *clause.meant))))
    return both if both[0].expert in (last.expert, ranked[0].expert) else ()


def _same(clause: Clause, last: Task, ranked: Sequence[Match]) -> bool:
    """Whether a clause is for the expert of the task before.

    It fits that one best, or it refers to a thing of that task and fits no other much better.
    """
    near = dict(ranked).get(last.expert, 0.0) >= _NEAR * ranked[0].score
    return last.expert == ranked[0].expert or (near and _takes_up(clause, last))


def _takes_up(clause: Clause, last: Task) -> bool:
    """Whether it refers with "the" or "this" to a word of the task before."""
    return any(one in _KNOWN and not last.said.isdisjoint(stems((two,))) for one, two in pairwise(clause.words))


def _points(clause: Clause, last: Task) -> bool:
    shared = len(last.said.intersection(clause.meant)) > 1
    known = shared or clause.verb in TELLING or not _KNOWN.isdisjoint(clause.words)
    return known and (clause.verb or clause.words[0]) != last.verb


def _is_other(last: Task, ranked: Sequence[Match]) -> bool:
    """Whether the task before and the clause clearly fit different experts."""
    return last.expert != ranked[0].expert and min(last.ranked[0].score, ranked[0].score) >= _BY_FAR


def _is_detail_of(clause: Clause, last: Task, ranked: Sequence[Match]) -> bool:
    wish, own = last.ranked[0].score, ranked[0].score
    faint = min(wish, own) < max(CLEAR, _FAINT * wish)
    return clause.verb in TELLING and (faint or not VAGUE.isdisjoint(last.meant))
