"""Compile recorded answers of models, and count how many are plans that can run."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.errors import BadDraft, NoDraft
from swarm.planner.compile.compiler import Compiled, CompileRules, compiled
from swarm.planner.evaluate.recordings import ANYONE, Experts, RecordedLine, Requests, lines, text
from swarm.planner.parse.draft import Draft, read
from swarm.types.result import Mend

MAX_CATEGORIES = 100
"""Kinds of refusals and repairs that are counted apart; the rest is `other`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one text: its plan, or why it has none."""

    model: str
    request: str
    ms: float
    plan: Compiled | None = None
    experts: tuple[str, ...] = ()
    """The expert of each subtask, as the recording names it."""
    problems: tuple[str, ...] = ()
    mends: tuple[Mend, ...] = ()
    categories: tuple[str, ...] = ()
    exception: str = ""

    def document(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        about: dict[str, Any] = {"model": self.model, "request_id": self.request, "valid": self.plan is not None}
        if self.plan is not None:
            shown = [s.model_dump(mode="json", exclude_defaults=True) for s in self.plan.subtasks]
            subtasks = [one | {"expert": title} for one, title in zip(shown, self.experts, strict=True)]
            about["plan"] = {"subtasks": subtasks, "aggregate": self.plan.aggregate}
        else:
            about["refusal"] = list(self.problems) or [self.exception]
        about["mends"] = [f"{mend.place}: {mend.what}" if mend.place else mend.what for mend in self.mends]
        return about | {"categories": list(self.categories)}


def check_answer(raw: str, known: Experts, rules: CompileRules, *, model: str = "", request: str = "") -> Verdict:
    """Read and compile one text. Every exception is kept in the verdict."""
    draft: Draft | None = None
    refused: NoDraft | BadDraft | None = None
    exception = ""
    begun = time.perf_counter()
    try:
        draft = read(raw, known.written, rules.max_subtasks)
        plan = compiled(draft, known.cards, rules, names=known.names)
    except (NoDraft, BadDraft) as error:
        refused = error
    except Exception as error:  # a measuring tool counts bugs and goes on
        exception = f"{type(error).__name__}: {error}"
    else:
        ms = (time.perf_counter() - begun) * 1e3
        pairs = zip(draft.steps, plan.subtasks, strict=True)
        names = tuple(_named(known, step.expert, subtask.expert) for step, subtask in pairs)
        return Verdict(model, request, ms, plan, names, (), plan.mends, _kinds((), plan.mends))
    ms = (time.perf_counter() - begun) * 1e3
    mends = draft.mends if draft else ()
    if refused is None:
        return Verdict(model, request, ms, mends=mends, categories=("exception",), exception=exception)
    problems = refused.problems if isinstance(refused, BadDraft) else (str(refused),)
    kinds = (f"refused: {refused.reason}",) if isinstance(refused, NoDraft) else _kinds(problems, mends)
    return Verdict(model, request, ms, problems=problems, mends=mends, categories=kinds)


def _kinds(problems: Sequence[str], mends: Sequence[Mend]) -> tuple[str, ...]:
    refused = (f"refused: {_kind(problem, _PROBLEMS)}" for problem in problems)
    mended = (f"mended: {_kind(f'{mend.place}: {mend.what}', _MENDS)}" for mend in mends)
    return tuple(dict.fromkeys((*refused, *mended)))


def _named(known: Experts, written: str, found: str) -> str:
    return written if found == ANYONE else known.names.title(found)


_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+|(?<=call of )\S+")
_PROBLEMS = (
    (re.compile(r"\.expert: "), "unknown expert"),
    (re.compile(r"is the id of \d+ steps|is solved already"), "duplicate id"),
    (re.compile(r": it waits for itself"), "self edge"),
    (re.compile(r": circular"), "cycle"),
    (re.compile(r"is no (?:step|result) of the plan"), "dangling edge"),
    (re.compile(r"is no field of that result|is no list but"), "unknown field"),
    (re.compile(r"\.(?:when|for_each): "), "condition"),
    (re.compile(r"\.output: "), "output schema"),
    (re.compile(r"^steps: "), "over a cap"),
    (re.compile(r""), "value"),
)
_MENDS = (
    (re.compile(r"\.expert: "), "expert"),
    (re.compile(r"\.id: "), "id"),
    (re.compile(r"it no longer waits for"), "edge dropped"),
    (re.compile(r"is no step of the plan; dropped"), "dangling edge dropped"),
    (re.compile(r"\.instruction: "), "reference"),
    (re.compile(r"numbers .*counted from|can count from"), "numbering"),
    (re.compile(r"\.depends_on: |^links"), "edge"),
    (re.compile(r"\.(?:when|for_each): "), "condition"),
    (re.compile(r"^aggregate: "), "aggregate"),
)


def _kind(said: str, kinds: Sequence[tuple[re.Pattern[str], str]]) -> str:
    """Return the first kind that fits a message; each message of the text reader is a kind of its own."""
    found = next((kind for pattern, kind in kinds if pattern.search(said)), None)
    return found or _VARIES.sub("_", said.rpartition(": ")[2])[:60]


# -- the report ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Count:
    n: int = 0
    valid: int = 0
    mended: int = 0
    """Valid plans that needed repairs."""


@dataclass(slots=True)
class CompileReport:
    """Counts over many verdicts. Its size does not grow with their number."""

    models: dict[str, Count] = field(default_factory=dict)
    categories: Counter[str] = field(default_factory=Counter)
    by_model: Counter[tuple[str, str]] = field(default_factory=Counter)
    exceptions: int = 0
    first_exception: str = ""
    _ms: Counter[float] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        count = self.models.setdefault(verdict.model, Count())
        count.n += 1
        count.valid += verdict.plan is not None
        count.mended += verdict.plan is not None and bool(verdict.mends)
        if verdict.exception:
            self.exceptions += 1
            self.first_exception = self.first_exception or f"{verdict.request}: {verdict.exception}"
        for kind in verdict.categories:
            kind = kind if kind in self.categories or len(self.categories) < MAX_CATEGORIES else "other"
            self.categories[kind] += 1
            self.by_model[kind, verdict.model] += 1
        self._ms[float(f"{verdict.ms:.3g}")] += 1

    @property
    def total(self) -> Count:
        every = self.models.values()
        return Count(sum(c.n for c in every), sum(c.valid for c in every), sum(c.mended for c in every))

    @property
    def ms_median(self) -> float:
        passed, half = 0, (self.total.n + 1) // 2
        for ms in sorted(self._ms):
            passed += self._ms[ms]
            if passed >= half:
                return ms
        return 0.0

    def document(self) -> dict[str, Any]:
        total = self.total
        return {
            "n": total.n,
            "valid": total.valid,
            "by_model": {name: {"n": count.n, "valid": count.valid} for name, count in self.models.items()},
            "categories": dict(self.categories.most_common()),
            "mended": total.mended,
            "exceptions": self.exceptions,
            "ms_median": self.ms_median,
        }


def verdicts(outputs: Path, requests: Requests, rules: CompileRules) -> Iterator[tuple[RecordedLine, Verdict]]:
    """Yield a verdict for each recorded text, in order, with its line. Raises BadInput."""
    for line in lines(outputs):
        place = f"{outputs}:{line.number}"
        request = text(outputs, line, "request_id")
        known = requests.experts(request, str(line.value.get("set", "")), place)
        raw, model = text(outputs, line, "raw"), str(line.value.get("model", ""))[:200]
        yield line, check_answer(raw, known, rules, model=model, request=request)
