"""Make the answer of a job: read its results, and let a model write the text where the plan asks for that.

`made` is part of a decision and asks no model. `delivered` is a delivery of its own, for results that are too large for
a decision and for answers that a model writes; if the model fails, the results are joined.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from swarm import logging as events
from swarm.answer.aggregate import aggregate, sections, wanted
from swarm.answer.source_markers import SourcedText
from swarm.answer.synthesis import Synthesis, WrittenAnswer, question
from swarm.broker.job_log import JobLog
from swarm.broker.queue import Claim
from swarm.engine.progress import Progress, parent_id
from swarm.types.answer import Answer, Ending, Missing
from swarm.types.base import received
from swarm.types.events import Answered
from swarm.types.plan import Subtask
from swarm.types.result import Caveat, Failure, Solution, Usage

_log = events.get_logger("answering")

NO_MODEL = "no model wrote this answer, its parts were joined"
SHOWN = 10
"""Names that a reason lists."""


@dataclass(frozen=True)
class GatheredResults:
    """The inputs of an answer, read once: subtasks, results, and what is missing."""

    job: str
    ending: Ending
    progress: Progress
    subtasks: tuple[Subtask, ...]
    results: Mapping[str, Solution]
    missing: tuple[Missing, ...]
    max_answer: int

    def answer(self, *reasons: str, usage: Usage | None = None, written: SourcedText | None = None) -> Answer:
        """Make the answer. Its reason lists everything that limits it."""
        left_out = _listed("perhaps not done", self.progress.left_out)
        unbacked = _listed(
            "no quote of its answer stands in the documents, so it is unverified", self._with("unverified")
        )
        ended = _listed("ends too early, at a limit", self._with("cut"))
        first = "; ".join(_asked_twice(self.progress))
        again = f"planning again failed: {self.progress.unplanned}" if self.progress.unplanned else ""
        why = "; ".join(
            filter(None, (self.progress.why, again, first, *self._limits(), *reasons, left_out, unbacked, ended))
        )
        how = self.progress.graph.aggregate
        used = self.progress.usage + (usage or Usage())
        # every subtask was solved, but the answer lacks some of the results
        ending = "partial" if self.ending == "completed" and self.missing else self.ending
        return aggregate(self.job, self.subtasks, how, self.results, self.missing, ending, used, why, written=written)

    def _limits(self) -> Iterator[str]:
        """Reasons for results that are solved but not in the answer, and for empty lists of `for_each`."""
        if cut := self._lacking("too_large"):
            cap = f"the {self.max_answer:,} bytes of an answer (SWARM_MAX_ANSWER of the routers)"
            yield _listed(f"{len(cut):,} parts do not fit {cap}", cut)
        if gone := self._lacking("gone"):
            yield _listed(f"{len(gone):,} results are no longer in Redis", gone)
        yield from (f"{name}: {step.message}" for name, step in self.progress.steps.items() if step.empty)

    def _lacking(self, reason: str) -> list[str]:
        """Solved subtasks whose results are missing from the answer for this reason."""
        solved = self.progress.solved
        return [each.subtask for each in self.missing if each.reason == reason and each.subtask in solved]

    def _with(self, caveat: Caveat) -> list[str]:
        """Subtasks whose results have this caveat."""
        said = [s for s in self.subtasks if s.id in self.results and caveat in self.results[s.id].caveats]
        return [f"{subtask.id} ({subtask.expert})" for subtask in said]


class Answers:
    """Makes answers for the jobs of one Redis. `max_answer` limits the bytes of results in one answer."""

    def __init__(self, log: JobLog, *, max_answer: int, writer: Synthesis | None = None) -> None:
        self._log, self._max_answer, self._writer = log, max_answer, writer

    async def made(self, job: str, progress: Progress, ending: Ending) -> Answer:
        """Make the answer of a job that ends now: the one that was delivered, or one from the results that exist."""
        if progress.answer and ending in ("completed", "partial"):
            body = (await self._log.bodies(job, [progress.answer]))[progress.answer]
            return received(Answer, body).model_copy(update={"usage": progress.usage})
        gathered = await self._gathered(job, progress, ending)
        unwritten = progress.graph.aggregate == "synthesis" and gathered.results
        failed = f"the delivery that writes the answer failed: {progress.unanswered}" if progress.unanswered else ""
        return gathered.answer(NO_MODEL if unwritten else "", failed)

    async def delivered(self, claim: Claim) -> tuple[Answered, str]:
        """Make the answer of a job whose subtasks are settled. Returns the event and the answer's body."""
        progress = await self._log.progress(claim.job)
        gathered = await self._gathered(claim.job, progress, progress.cause or "completed")
        if progress.graph.aggregate != "synthesis" or not gathered.results:
            return _event(progress, gathered.answer())
        outcome, shortened = await self._written(claim, gathered)
        usage = outcome.usage
        if isinstance(outcome, Failure):
            self._log_fallback(claim.job, outcome)
            answer = gathered.answer(f"{NO_MODEL}: {outcome.message}", usage=usage)
            return _event(progress, answer, usage, outcome)
        if outcome.lacking:
            return Answered(usage=usage, lacking=outcome.lacking), ""
        reasons = (
            _listed("too long for the model that wrote this answer, which read only parts of it", shortened),
            _listed("source marks that name no subtask", outcome.marked.unknown),
            _unsourced(outcome.marked),
        )
        return _event(progress, gathered.answer(*reasons, usage=usage, written=outcome.marked), usage)

    def _log_fallback(self, job: str, failure: Failure) -> None:
        model = self._writer.name if self._writer else ""
        message = failure.log_message or failure.message
        _log.warning(events.SYNTHESIS_FELL_BACK, job=job, model=model, reason=failure.reason, message=message)

    async def _written(
        self, claim: Claim, gathered: GatheredResults
    ) -> tuple[WrittenAnswer | Failure, tuple[str, ...]]:
        """Let the model write. Returns its text or the failure, and the names of results that it saw only in part."""
        if self._writer is None:
            return Failure(reason="refused", message="this process has no model to write answers"), ()
        progress = gathered.progress
        asked = question(
            (await self._log.request(claim.job)).text,
            gathered.subtasks,
            sections(gathered.subtasks, progress.graph.aggregate, gathered.results),
            gathered.results,
            gathered.missing,
            may_lack=progress.may_plan_again,
        )
        if isinstance(asked, Failure):
            return asked, ()
        async with self._log.deltas.writing(claim, attempt=progress.answers + 1) as show:
            outcome = await self._writer.write(asked, show)
            if isinstance(outcome, Failure):
                show.begin()
        return outcome, asked.shortened

    async def _gathered(self, job: str, progress: Progress, ending: Ending) -> GatheredResults:
        # the expert that answered: after a fallback it is not the planned one
        subtasks = tuple(_by(progress.expert_of(s), s) for s in progress.parts())
        solved = progress.solved
        names = wanted(subtasks, progress.graph.aggregate, solved, ending) if subtasks else ()
        kept, cut = self._within_cap(progress, names)
        results = await self._log.solutions(job, {name: solved[name] for name in kept})
        experts = {s.id: s.expert for s in subtasks}
        lost = _lost(experts, [n for n in kept if n not in results], cut)
        missing = (*progress.missing(), *lost)
        return GatheredResults(job, ending, progress, subtasks, results, missing, self._max_answer)

    def _within_cap(self, progress: Progress, names: Collection[str]) -> tuple[list[str], list[str]]:
        kept: list[str] = []
        cut: list[str] = []
        room = self._max_answer
        for name in names:
            room -= progress.steps[name].size
            (kept if room >= 0 else cut).append(name)
        return kept, cut


def _asked_twice(progress: Progress) -> Iterator[str]:
    """Say for each subtask whose expert found nothing that the runner-up was asked."""
    for name, step in progress.steps.items():
        if step.nothing_by and step.state == "solved":
            other = progress.graph.runner_ups[parent_id(name)]
            if step.runner_up:
                yield f"{name}: first asked {step.nothing_by}, which found nothing"
            else:
                yield f"{name}: {step.nothing_by} found nothing, and neither did {other}"


def _by(expert: str, subtask: Subtask) -> Subtask:
    return subtask if subtask.expert == expert else subtask.model_copy(update={"expert": expert})


def _event(
    progress: Progress, answer: Answer, usage: Usage | None = None, failure: Failure | None = None
) -> tuple[Answered, str]:
    event = Answered(body=f"answer.{progress.answers + 1}", usage=usage or Usage(), failure=failure)
    return event, answer.model_dump_json(exclude_defaults=True)


def _lost(experts: Mapping[str, str], gone: Collection[str], cut: Collection[str]) -> tuple[Missing, ...]:
    why = dict.fromkeys(gone, ("gone", "its result is no longer in Redis"))
    why |= dict.fromkeys(cut, ("too_large", "the answer reached its maximum size before this part"))
    return tuple(Missing(subtask=n, expert=experts[n], reason=r, message=m) for n, (r, m) in why.items())


def _unsourced(marked: SourcedText) -> str:
    """Count the paragraphs that cite no source; skip headings."""
    counted = [p for p in marked.paragraphs if "\n" in p.text or not p.text.startswith("#")]
    bare = sum(not paragraph.subtasks for paragraph in counted)
    return f"{bare:,} of {len(counted):,} paragraphs name no source" if bare else ""


def _listed(what: str, names: Collection[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(list(names)[:SHOWN])}{more}" if names else ""
