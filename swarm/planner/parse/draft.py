"""Read a planner's text into a draft: its steps as they were written, not yet checked against the catalog.

The ways of reading, cheapest first: the whole text as JSON; JSON inside prose and fences; almost-JSON and calls; a
repair library. The values found are searched for steps, and of several plans in one text one is chosen (`select.py`).
A text that holds no plan, or lost steps on the way, is refused with the kind of its fault.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.errors import NoDraft
from swarm.llm.openai.reasoning_splitter import answer_in
from swarm.planner.parse.dependencies import refer
from swarm.planner.parse.known_experts import KnownExperts
from swarm.planner.parse.raw_steps import MAX_STEPS, Further, NotAStep, RawStep, RawSteps, TooMany
from swarm.planner.parse.refusals import (
    MAX_ALIKE,
    alike,
    has_argument_tags,
    is_program,
    listed,
    shown,
    tagged,
    unread,
    why,
)
from swarm.planner.parse.scanner import Candidate, Scanner, repaired, whole
from swarm.planner.parse.select import Choice, PlanPart, choose, signature
from swarm.planner.parse.step_finder import outline
from swarm.planner.parse.values import UnreadableValue
from swarm.types.result import Mend

MAX_TEXT = 200_000
"""Characters of a planner's text that are read; a longer text is refused."""
SAID_AGAIN = 4
"""How often a text may repeat the steps of its plan: as a draft, as an example, once more at the end."""


@dataclass(frozen=True, slots=True)
class DraftStep:
    """One step as it was written. Its names and edges are not yet resolved."""

    expert: str
    id: str = ""
    """The step's id; empty if the text gives none."""
    instruction: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments by name; unnamed ones are "0", "1", ..."""
    depends_on: tuple[str, ...] = ()
    output: Mapping[str, Any] | None = None
    when: Mapping[str, Any] | None = None
    for_each: str = ""
    place: str = ""
    """The path of the step in the text's own structure, such as `steps.2`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """All the steps of a text, in the order of the text."""

    steps: tuple[DraftStep, ...]
    links: tuple[tuple[str, str], ...] = ()
    """Edges listed apart from the steps: (from, to), each an id or an expert as written."""
    aggregate: str = ""
    mends: tuple[Mend, ...] = ()
    """Repairs that were needed to read the text."""
    read_as: str = ""
    """The way of reading that found it: `json`, `fence`, `block`, `loose`, `calls` or `repair`."""


def read(text: str | bytes, experts: Collection[str] = (), accepted: int = 100) -> Draft:
    """Read the steps of a planner's text. `experts` are known names, which help to tell a plan from prose and programs.

    Raises NoDraft, and nothing else, for any text. A draft has every step that its plan shows. A text with several
    times more steps than `accepted` is not read to its end.
    """
    source = _clean(text)
    most = min(MAX_STEPS, SAID_AGAIN * max(accepted, 50))
    try:
        return _read(source, KnownExperts(experts), most)
    except TooMany:
        raise NoDraft("too_many", f"more than {most:,} steps; plan fewer") from None
    except NotAStep as misfit:
        raise NoDraft("incomplete", f"{misfit}: an entry that is no step among steps; give each its expert") from None
    except Further:
        raise NoDraft("incomplete", "there are further steps beside the plan; put every step into one list") from None
    except UnreadableValue as problem:
        raise NoDraft(problem.reason, _UNREADABLE.get(problem.reason, "it cannot be read")) from None
    except RecursionError:
        raise NoDraft("too_deep", _UNREADABLE["too_deep"]) from None


_UNREADABLE = {
    "too_deep": "values are nested too deep; write flat steps",
    "too_long": "too many values for a plan; plan fewer and shorter steps",
    "program": "the text computes its steps in a loop; write every step out",
}


def _read(text: str, known: KnownExperts, most: int) -> Draft:
    numbers = itertools.count(1)
    stopped: UnreadableValue | None = None
    scan: Scanner | None = None
    if one := whole(text):
        parts = _parts([one], known, numbers, most)
    elif has_argument_tags(text):
        raise NoDraft("incomplete", "calls with a tag for each argument are not read; write the plan as JSON")
    else:
        scan = Scanner(text, known)
        parts = _parts(scan, known, numbers, most)
        stopped = scan.stopped or (scan.computed if not parts else None)
    choice = choose(parts, text, stopped, known)
    if scan and choice and known:
        _check_beside(choice, text, scan, known)
    if choice is None and stopped and stopped.reason == "cut" and (last := repaired(text, stopped.at)):
        choice = choose(_parts([last], known, numbers, most), text, None, known)
    if choice is None and stopped and stopped.reason != "cut":
        raise stopped
    if choice is None:
        raise NoDraft(*why(text, cut=stopped is not None))
    _check_complete(choice, text, known, most)
    return _draft(choice)


def _clean(text: str | bytes) -> str:
    """Remove encoding marks, control characters and the model's thoughts. Raises NoDraft if nothing is left."""
    if len(text) > 4 * MAX_TEXT:
        raise NoDraft("too_long", f"{len(text):,} characters, at most {MAX_TEXT:,} are read; plan shorter")
    if isinstance(text, bytes):
        wide = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = text.decode("utf-16" if wide else "utf-8", "replace")
    text = _UNSAFE.sub("", text.removeprefix("\ufeff"))
    if _ESCAPED_LIST.fullmatch(text):
        text = re.sub(r"\\([\[\]{}])", r"\1", text)
    said, text = text, answer_in(text)
    if said.strip() and not text.strip():
        raise NoDraft("cut", "the text ends while the planner is thinking; raise the cap of its output")
    if not text.strip():
        raise NoDraft("empty", "the text is empty")
    if len(text) > MAX_TEXT:
        raise NoDraft("too_long", f"{len(text):,} characters, at most {MAX_TEXT:,} are read; plan shorter")
    return text


_UNSAFE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_ESCAPED_LIST = re.compile(r"\s*\\\[.*\\\]\s*", re.S)
"""A list whose brackets are escaped for Markdown, so that they are not shown as a link."""


def _parts(found: Iterable[Candidate], known: KnownExperts, numbers: Iterator[int], most: int) -> list[PlanPart]:
    values = list(itertools.islice(found, most + 1))
    if len(values) > most:
        raise TooMany  # before each of them is examined
    parts = []
    for one in values:
        try:
            lines = outline(one.value, known, one.label, numbers, most)
        except NotAStep as misfit:
            parts.append(PlanPart(one, RawSteps(), misfit=str(misfit)))
            continue
        if lines is not None:
            parts.append(PlanPart(one, lines))
    return parts


def _check_beside(choice: Choice, text: str, scan: Scanner, known: KnownExperts) -> None:
    """Refuse a plan if the text calls an expert beside it in a form that cannot be read."""
    if is_program(text):
        return
    end = min(choice.end if choice.turned else len(text), scan.stopped.at if scan.stopped else len(text))
    planned = {step.expert for part in choice.parts for step in part.outline.steps}
    if name := unread(text[:end], scan.spans, known) or tagged(text[:end], planned, scan.spans, known):
        raise NoDraft("incomplete", f"a call of {name[:80]!r} cannot be read; put every step into one list")
    if name := listed(text[:end], planned, known):
        raise NoDraft("incomplete", f"{name[:80]!r} is listed as a step but is not in the plan; add it to the list")


def _check_complete(choice: Choice, text: str, known: KnownExperts, most: int) -> None:
    """Refuse a plan that lost steps while it was read, or repeats one step without end."""
    for part in choice.parts:
        steps = part.outline.steps
        if part.found.exact:
            continue
        stretch = text[part.found.start : part.found.end]
        if part.found.read_as == "calls" and stretch.count("(") <= len(steps):
            continue
        stands = shown(stretch, part.outline.keys, {step.expert for step in steps}, known)
        if stands > len(steps):
            raise NoDraft(
                "incomplete", f"the text shows {stands} steps, {len(steps)} can be read; mend its brackets and quotes"
            )
    every = [step for part in choice.parts for step in part.outline.steps]
    if len(every) > most:
        raise TooMany
    if len(every) > MAX_ALIKE and alike(map(signature, every)):
        raise NoDraft("repeats", "the text repeats one step without end; write it once")


def _draft(choice: Choice) -> Draft:
    """Build one draft of all the parts that make up the plan."""
    steps: list[RawStep] = []
    for part in choice.parts:
        own = [step for step in part.outline.steps if not step.hidden]
        if part.found.id and len(own) == 1 and not own[0].id:
            own[0].id = part.found.id
        steps += part.outline.steps
    mends = {(place, what): None for part in choice.parts for place, what in _mends(part)}
    mends.update({("", note): None for note in choice.notes})
    if len(choice.parts) > 1:
        for i, step in enumerate(steps):
            step.place = f"steps.{i}"
    if any(part.outline.bare for part in choice.parts):
        refer(steps)
    return Draft(
        steps=tuple(map(drafted, steps)),
        links=tuple(link for part in choice.parts for link in part.outline.links),
        aggregate=next((part.outline.aggregate for part in choice.parts if part.outline.aggregate), ""),
        mends=tuple(Mend(place=place, what=what) for place, what in mends),
        read_as=choice.parts[0].found.read_as,
    )


def _mends(part: PlanPart) -> list[tuple[str, str]]:
    found = part.found
    place = part.outline.steps[0].place
    mends = [(place, note) for note in found.notes]
    if found.read_as in ("fence", "block") and found.end - found.start:
        mends.append(("", "a plan inside of prose or a fence"))
    if found.read_as == "json" and not found.exact:
        mends.append((place, "an object repeats a key; the last one counts"))
    if found.label:
        mends.append((place, "the name stood before its arguments"))
    return mends + list(part.outline.mends)


def drafted(step: RawStep) -> DraftStep:
    return DraftStep(
        expert=step.expert,
        id=step.id,
        instruction=step.instruction,
        arguments=step.arguments,
        depends_on=tuple(map(str, step.depends_on)),
        output=step.output,
        when=step.when,
        for_each=step.for_each,
        place=step.place,
    )
