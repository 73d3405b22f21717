"""Ask a model for a plan, compile it, and if it cannot run ask again with the list of problems.

The text is never trusted: `draft.read` and `compiled` check all of it, also the subtasks that were published while it
was written. A plan takes at most `TURNS` calls, within `plan_timeout` together.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from itertools import islice

from swarm.engine import retry
from swarm.errors import BadOutput, DraftReason, ExpertError, ModelUnavailable, NoDraft, PlanRefused
from swarm.llm.bad_output import MORE_TOKENS
from swarm.llm.base import ChatRequest, Completion, Message, Model, cap_of, complete
from swarm.llm.openai.usage import failed, given_up
from swarm.planner.base import PriorPlan, Publish, fallbacks, in_thread_if_long
from swarm.planner.compile.compiler import Compiled, CompileRules, compiled
from swarm.planner.compile.expert_names import ExpertNames
from swarm.planner.compile.foreign_references import Foreign
from swarm.planner.model import prompt
from swarm.planner.model.early_dispatch import EarlyDispatch
from swarm.planner.model.output_schema import response_format
from swarm.planner.model.request_placeholder import bound, marked, unquoted
from swarm.planner.model.shortlist import candidates, shortlist
from swarm.planner.model.spare_capacity import Slots, SpareCapacity, unknown
from swarm.planner.parse.draft import Draft, read
from swarm.settings import Settings
from swarm.text.expert_ranking import Match
from swarm.types.card import Card
from swarm.types.events import Planned
from swarm.types.plan import Subtask, escaped
from swarm.types.result import Failure, Reason, Usage, as_reason


class Unstarted(Exception):
    """Internal: the model wrote no step in time."""


TURNS = 3
"""Calls for one plan: the first, and two to repair or repeat it."""
MAX_WRITTEN = 400_000
"""Characters of one answer; the call of a model that writes more is closed."""

_EMPTY = re.compile(r"""\A\s{0,20}\[\s{0,20}\]\s{0,20}\Z|"(?:subtasks|steps|plan)"\s{0,20}:\s{0,20}\[\s{0,20}\]""")


class ModelPlanner:
    """Plans requests by asking `model`; safe for several requests at once.

    `slots` returns how many calls an endpoint takes at once, if that is known.
    """

    def __init__(self, model: Model, settings: Settings, slots: Slots = unknown) -> None:
        self._model, self._settings, self._slots = model, settings, slots

    async def plan(
        self,
        text: str,
        cards: Mapping[str, Card],
        *,
        publish: Publish | None = None,
        tried: PriorPlan | None = None,
        first_step: float = math.inf,
        meant: Sequence[Sequence[Match]] = (),
    ) -> Planned:
        """Return the closed plan, or a `failure` with the reason; each with a note on every turn and the total usage.

        With `publish`, subtasks that can begin are published while the model writes its first answer. Planning is given
        up after `first_step` seconds without a new step. `meant` are rankings by meaning, for the shortlist of experts.
        Raises what `publish` raises, and no other SwarmError.
        """
        until = asyncio.get_running_loop().time() + self._settings.plan_timeout
        asking = await in_thread_if_long(
            len(text) + 50 * len(cards),
            lambda: _Conversation(self._model, self._settings, text, cards, publish, tried, meant),
        )
        asking.first_step, asking.room = first_step, SpareCapacity(self._model.name, self._slots)
        try:
            async with asyncio.timeout_at(until):
                return await asking.plan(until)
        except TimeoutError:
            return asking.gave_up(
                "timeout", f"no plan within {self._settings.plan_timeout:g} s; raise SWARM_PLAN_TIMEOUT"
            )


class _Conversation:
    """The conversation for one plan: the problems so far, its usage, and its notes."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        text: str,
        cards: Mapping[str, Card],
        publish: Publish | None,
        tried: PriorPlan | None,
        meant: Sequence[Sequence[Match]],
    ) -> None:
        self._model, self._settings, self._cards, self._publish = model, settings, cards, publish
        self._rules, self._names = CompileRules.of(settings), ExpertNames(cards)
        self._text, self._safe = text, escaped(text)
        shown, shortened = shortlist(text, cards, meant=meant)
        self._notes = [shortened] if shortened else []
        self._foreign = foreign = Foreign.of(text, *_results(tried))
        self._question = prompt.PlanningPrompt(text=self._safe, cards=shown, tried=tried, foreign=foreign)
        self._done = frozenset(done.id for done in tried.done) if tried else frozenset()
        self._usage = Usage()
        self._problems: list[str] = []
        self._last = self._noted = ""
        self._begun: dict[str, Subtask] = {}
        self._early = EarlyDispatch(
            self._compiled, tuple(cards), self._done, settings.max_subtasks, foreign.placeholder
        )
        self._until = 0.0
        self._written = ""
        self.first_step, self.room = math.inf, SpareCapacity(model.name, unknown)

    async def plan(self, until: float) -> Planned:
        """Ask until there is a plan or no turn is left."""
        self._until = until
        first_step_until = asyncio.get_running_loop().time() + self.first_step
        messages = prompt.asked(self._question)
        outages = refusals = 0
        for turn in range(1, TURNS + 1):
            completion, draft = None, None
            try:
                completion = await self._answered(messages)
                if self._question.tried and _EMPTY.search(completion.text) and await self._is_empty(completion):
                    return self._nothing_left(turn, completion)
                draft = await self._read(completion)
                return self._closed(turn, completion, draft, await self._whole(completion, draft))
            except (PlanRefused, BadOutput) as error:
                self._last = f"{self._model.name}: {self._said(error)}"
                self._note(turn, f"{self._said(error)}{_asked_by(completion)}")
                refusals += isinstance(error, NoDraft) and error.reason == "refusal"
                if isinstance(error, BadOutput) and not error.retryable:
                    return self.gave_up(as_reason(error.reason), self._last, error.log_message)
                if refusals > 1:
                    break
                if asyncio.get_running_loop().time() > first_step_until:
                    late = f"{self._model.name}: {self._unstarted}"
                    return self.gave_up("timeout", f"{self._last}; {self._unstarted}", late)
                messages = self._repair(error, completion.text if completion else "", draft)
            except Unstarted as error:
                self._note(turn, str(error))
                return self.gave_up("timeout", f"{self._model.name}: {error}")
            except ModelUnavailable as error:
                self._note(turn, self._said(error))
                outages += 1
                if error.call.breaker_open or not await self._waited(error, outages):
                    return self.gave_up("unavailable", str(error), error.log_message)
            except ExpertError as error:
                self._note(turn, self._said(error))
                return self.gave_up(as_reason(error.reason), str(error), error.log_message)
        return self.gave_up("bad_output", self._last)

    def gave_up(self, reason: Reason, why: str, log_message: str = "") -> Planned:
        return Planned(
            planner=self._model.name,
            notes=tuple(self._notes),
            usage=self._usage,
            failure=Failure(reason=reason, message=why, log_message=log_message),
        )

    # -- one turn

    async def _answered(self, messages: Sequence[Message]) -> Completion:
        """Return the model's answer to one turn. The first answers are streamed."""
        wanted = response_format(self._question.cards, may_be_empty=self._question.tried is not None)
        self._written = ""
        left = max(0.1, self._until - asyncio.get_running_loop().time())
        request = ChatRequest(messages, max_tokens=self._most, timeout=left, format=wanted)
        try:
            if self._problems:
                completion = await complete(self._model, request)
            else:
                completion = await self._streamed(request)
        except ExpertError as error:
            self._usage += failed(error, messages)
            raise
        except (asyncio.CancelledError, NoDraft, Unstarted):
            self._usage += given_up(messages, self._written)
            raise
        self._usage += completion.usage
        return completion

    @property
    def _most(self) -> int | None:
        """The limit of tokens of one turn."""
        return cap_of(self._model) or self._settings.cap("plan") or None

    @property
    def _unstarted(self) -> str:
        return f"no step within {self.first_step:g} s (SWARM_PLAN_FIRST_STEP)"

    async def _streamed(self, request: ChatRequest) -> Completion:
        """Stream an answer, and publish subtasks that can begin if the server has room for them."""
        early, written, steps = self._early, "", 0
        early.restart()
        stream = self._model.stream(request)
        self.room.asks()
        with self._giving_up() as step_timeout:
            async with step_timeout, aclosing(stream) as items:
                async for item in items:
                    if isinstance(item, Completion):
                        return item
                    self.room.hears()
                    self._written = written = written + item
                    if step_timeout.when() is not None and (shown := _named(written, self._question.cards)) > steps:
                        steps = shown
                        step_timeout.reschedule(asyncio.get_running_loop().time() + self.first_step)
                    if len(written) > MAX_WRITTEN or early.steps > self._settings.max_subtasks:
                        reason: DraftReason = "too_long" if len(written) > MAX_WRITTEN else "too_many"
                        raise NoDraft(reason, f"stopped after {early.steps:,} steps and {len(written):,} characters")
                    if ready := self.room.of(early.feed(item), self._cards):
                        await self._published(ready)
        raise ModelUnavailable(f"{self._model.name}: the stream broke off before the end of the answer")

    @contextmanager
    def _giving_up(self) -> Iterator[asyncio.Timeout]:
        """Limit the time to the next step. Raises Unstarted, after which the model is not asked again."""
        seconds = None if math.isinf(self.first_step) else self.first_step
        step_timeout = asyncio.timeout(seconds)
        try:
            yield step_timeout
        except TimeoutError:
            if not step_timeout.expired():
                raise
            raise Unstarted(self._unstarted) from None

    async def _published(self, ready: tuple[Subtask, ...]) -> None:
        if self._publish is not None:
            self._begun |= {subtask.id: subtask for subtask in ready}
            await self._publish(self._planned(ready, closed=False))

    async def _read(self, completion: Completion) -> Draft:
        cut = NoDraft("cut", "the answer was cut at the token limit", completion.remedy or MORE_TOKENS)
        try:
            draft = await in_thread_if_long(
                len(completion.text), lambda: read(completion.text, tuple(self._cards), self._settings.max_subtasks)
            )
        except NoDraft as error:
            if error.reason == "no_plan" and _EMPTY.search(completion.text):
                raise NoDraft("no_plan", "the plan is empty: it has no subtasks") from None
            raise cut if completion.cut and error.reason != "refusal" else error from None
        if completion.cut and draft.read_as != "json":
            raise cut
        return draft

    async def _is_empty(self, completion: Completion) -> bool:
        """Whether a text with an empty list of subtasks somewhere has no step at all."""
        try:
            return not (await self._read(completion)).steps
        except NoDraft as error:
            return error.reason == "no_plan"

    async def _whole(self, completion: Completion, draft: Draft) -> Compiled:
        return await in_thread_if_long(len(completion.text), lambda: self._compiled(draft))

    def _compiled(self, draft: Draft, known: Collection[str] = ()) -> Compiled:
        """Compile a draft of the plan or of a part of it; `known` are ids of the steps before."""
        known = self._done.union(known)
        foreign = self._foreign
        draft = marked(unquoted(draft, self._text), known, foreign.placeholder)
        plan = compiled(draft, self._cards, self._rules, known=known, names=self._names, foreign=foreign)
        return replace(plan, subtasks=bound(plan.subtasks, self._safe, foreign.placeholder))

    def _closed(self, turn: int, completion: Completion, draft: Draft, plan: Compiled) -> Planned:
        self._note(turn, f"{len(plan.subtasks)} subtasks, read as {draft.read_as}{_asked_by(completion)}")
        if begun := self._begun:
            kept = sum(begun.get(subtask.id) == subtask for subtask in plan.subtasks)
            self._notes.append(f"{len(begun)} began while it was written, {len(begun) - kept} of them were discarded")
        facts = {"aggregate": plan.aggregate, "why": plan.why, "mends": plan.mends}
        notes = {"notes": tuple(self._notes), "usage": self._usage}
        return self._planned(plan.subtasks, closed=True).model_copy(update=facts | notes)

    def _nothing_left(self, turn: int, completion: Completion) -> Planned:
        """Return an empty plan, which is valid only when planning again."""
        self._note(turn, f"nothing is left to do{_asked_by(completion)}")
        notes = {"notes": tuple(self._notes), "usage": self._usage}
        return self._planned((), closed=True).model_copy(update=notes)

    def _planned(self, subtasks: tuple[Subtask, ...], *, closed: bool) -> Planned:
        spares = fallbacks(subtasks, self._cards)
        return Planned(subtasks=subtasks, fallbacks=spares, planner=self._model.name, closed=closed, again=True)

    # -- after a turn that gave no plan

    def _repair(self, error: PlanRefused | BadOutput, text: str, draft: Draft | None) -> list[Message]:
        """Write the next prompt. It differs from the one before, which would get the same answer."""
        first = not self._problems
        problems = prompt.problems(error, self._foreign)
        self._problems += problems
        unknown = dict.fromkeys(s.expert for s in draft.steps if s.expert not in self._cards) if draft else {}
        near = candidates(islice(unknown, prompt.PROBLEMS), self._cards)
        shown = {name: card for name, card in self._cards.items() if name in near or name in self._question.cards}
        self._question = replace(self._question, cards=shown)
        return (
            prompt.repaired(self._question, text, problems)
            if first
            else prompt.restarted(self._question, self._problems)
        )

    async def _waited(self, error: ModelUnavailable, outages: int) -> bool:
        """Wait before the call is repeated; return False if it is not to be repeated or no time is left."""
        failure = Failure(reason="unavailable", message="", retryable=error.retryable, retry_after=error.retry_after)
        delay = retry.delay(failure, outages, 2, self._model.name)
        left = self._until - asyncio.get_running_loop().time()
        if delay is None or delay / 1000 > left:
            return False
        await asyncio.sleep(delay / 1000)
        return True

    def _said(self, error: Exception) -> str:
        """Return an error's message without the model's name, with which errors of servers begin."""
        return str(error).removeprefix(f"{self._model.name}: ")

    def _note(self, turn: int, what: str) -> None:
        again = what == self._noted
        self._noted = what
        self._notes.append(f"{self._model.name}, turn {turn}: {'the same as before' if again else what}")


def _results(tried: PriorPlan | None) -> tuple[str, ...]:
    """Return the foreign texts in the outcome of the plan so far."""
    if tried is None:
        return ()
    return (*(done.text for done in tried.done), *(failed.message for failed in tried.failed), tried.lacking)


def _named(text: str, cards: Collection[str]) -> int:
    """Count the steps in an unfinished text: names of experts as values or in calls."""
    return sum(text.count(f'"{name}"') + text.count(f"'{name}'") + text.count(f"{name}(") for name in cards)


def _asked_by(completion: Completion | None) -> str:
    return f" (asked by {completion.asked_by})" if completion and completion.asked_by else ""
