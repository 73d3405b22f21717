"""Plan without a model by the meaning of a request's wishes: the wishes of `wishes.py` as subtasks. Pure.

`similar` tells how like a text is to each expert; it must know the texts of `wish_ranking.compared`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from swarm.errors import NoPlan
from swarm.planner.base import fallbacks, runner_ups
from swarm.planner.local import planner
from swarm.planner.local.planner import NAME
from swarm.planner.local.tasks import shown
from swarm.planner.local.wish_ranking import THRESHOLD, Ranking
from swarm.planner.local.wishes import Reader, Wish
from swarm.text.expert_ranking import Match, Similar, index
from swarm.text.language import language
from swarm.text.segments import Segmented
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import MAX_SUBTASKS, Subtask, result_line

SURE = 2.0
"""The least score by words of each part of a plan that is made by them alone: about two words of the expert's own."""
_CANDIDATES = 3


def plan_by_meaning(text: str, parts: Segmented, cards: Mapping[str, Card], similar: Similar) -> Planned:
    """Plan a request, escaped and cut into segments, as a closed round of subtasks `t1`, `t2`, ...

    Each wish is in some subtask or in `left_out`. Raises NoPlan with candidates if no wish fits an expert.
    """
    known = language(parts.language or "en")
    read = Reader(parts, Ranking(text, index(cards), cards, similar, known))
    wishes = read.wishes
    if not wishes:
        span, ranked = read.left_out[0] if read.left_out else ((0, len(text)), ())
        near = [match.expert for match in ranked[:_CANDIDATES]]
        raise NoPlan(f"nothing fits {shown(text[slice(*span)])}", near, cards)
    if len(wishes) > MAX_SUBTASKS:
        raise NoPlan(f"the request asks for more than {MAX_SUBTASKS:,} things", (), cards)
    subtasks = tuple(_subtask(text, wishes, at) for at in range(len(wishes)))
    if sum(len(subtask.instruction.encode()) for subtask in subtasks) > planner.MAX_PLAN:
        raise NoPlan(f"{len(wishes):,} subtasks with the texts they need are too long", (), cards)
    left_out = tuple(_left_out(text[slice(*span)], ranked) for span, ranked in read.left_out)
    return Planned(
        subtasks=subtasks,
        fallbacks=fallbacks(subtasks, cards),
        runner_ups=runner_ups(subtasks, [wish.ranked for wish in wishes], cards, THRESHOLD),
        planner=NAME,
        notes=(
            f"without a model: {len(wishes):,} of the request's parts fit an expert by words and meaning",
            *(f"left out: {wish}" for wish in left_out),
        ),
        left_out=left_out,
        why={f"t{at + 1}": "; ".join(_why(text, wishes, at)) for at in range(len(wishes))},
    )


def by_words_alone(text: str, parts: Segmented, cards: Mapping[str, Card]) -> Planned | None:
    """Return the plan by words if these are clear enough, so that nothing need be compared; else None."""
    asked = [part for part in parts.segments if part.asks and not part.pleasant]
    if any(part.condition or part.each for part in asked):
        return None
    try:
        planned, score = planner.scored(text, cards)
    except NoPlan:
        return None
    clear = score >= SURE and not planned.left_out and len(planned.subtasks) >= len(asked)
    return planned if clear else None


def _subtask(text: str, wishes: Sequence[Wish], at: int) -> Subtask:
    wish = wishes[at]
    told = [text if len(wishes) == 1 else text[wish.head : wish.end].strip().rstrip(",;")]
    if wish.part:
        told.append(f"Your part of this: {text[slice(*wish.part)].strip()}")
    if wish.unmet:
        told.append(f"Only if this holds: {wish.unmet}")
    if len(wishes) > 1:
        told += [f"From the request: {text[start:end].strip()}" for start, end in dict.fromkeys(wish.context)]
    told += [result_line(f"t{i + 1}", wishes[i].expert) for i in wish.waits if wish.when is None]
    return Subtask(
        id=f"t{at + 1}",
        expert=wish.expert,
        instruction="\n\n".join(told),
        depends_on=tuple(f"t{i + 1}" for i in wish.waits),
        when=wish.when,
    )


def _left_out(said: str, ranked: Sequence[Match]) -> str:
    near = ", ".join(match.expert for match in ranked[:_CANDIDATES])
    return f"{shown(said)} (no expert fits{f'; nearest: {near}' if near else ''})"


def _why(text: str, wishes: Sequence[Wish], at: int) -> Iterator[str]:
    wish = wishes[at]
    scores = ", then ".join(f"{match.expert} {match.score:.2f}" for match in wish.ranked[:3])
    yield f"{shown(text[slice(*(wish.part or (wish.head, wish.end)))])} fits {scores}"
    if wish.waits:
        yield f"waits for {', '.join(f't{i + 1}' for i in wish.waits)}: {wish.because!r}"
    if wish.unmet:
        yield f"the condition {wish.unmet!r} is left to {wish.expert}"
    for start, end in dict.fromkeys(wish.context):
        yield f"is also given {shown(text[start:end], 40)}"
