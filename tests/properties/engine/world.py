"""A small world around the scheduler, in which everything that may go wrong with events does, in random order."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from swarm.engine.branching import needed
from swarm.engine.planning_rounds import DispatchedSubtasks, in_round
from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import HEAVY, Action, AskAnswer, AskPlan, End, Release, Withdraw, advance, decide
from swarm.types.events import AnyEvent, Ended, OutcomeRecorded, Valued
from swarm.types.result import Failure, Reason, Usage
from tests.builders import (
    accepted,
    answered,
    cancel_asked,
    not_answered,
    not_planned,
    planned,
    round_opened,
    started,
    tick,
    written,
)
from tests.properties.engine.random_plans import altered, some_fallbacks, some_subtasks
from tests.properties.engine.stories import DUE, Story

MAX_ITEMS = 3
MOST_KILLS = 2


@dataclass
class World:
    """One job: its log, its planner, the attempts in the queue, and a decider that reads, thinks and writes."""

    random: Random
    size: int
    replans: int
    log: list[AnyEvent] = field(default_factory=list)
    saved: str = Progress().model_dump_json()
    cursor: int = 0
    thought: tuple[Progress, int, tuple[AnyEvent, ...], tuple[Action, ...]] | None = None
    queue: list[tuple[str, int]] = field(default_factory=list)
    """Attempts that were released and have not started."""
    runs: list[tuple[str, int]] = field(default_factory=list)
    """Attempts that may still report; some are there twice."""
    words: list[AnyEvent] | None = None
    """What the planner at work has still to say."""
    plans: list[int] = field(default_factory=list)
    """Numbers of plans that were asked for and have no planner yet."""
    asked: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    kills: int = 0
    answers: list[int] = field(default_factory=list)
    """Numbers of answers that were asked for and are not made yet."""
    interrupted: bool = True
    """Whether somebody may cancel, and the deadline pass."""
    trouble: bool = True
    story: Story = field(default_factory=Story)
    told: int = 0
    first_bodies: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return bool(self.log) and isinstance(self.log[-1], Ended)

    def append(self, *events: AnyEvent) -> None:
        for event in events:
            if not self.ended:
                self.log.append(event.model_copy(update={"id": f"{len(self.log) + 1}-{event.at}"}))

    # -- planners

    def plan(self) -> None:
        """The planner says its next word, or dies; or one takes up what was asked for."""
        if self.words:
            if self.trouble and self.kills < MOST_KILLS and self.random.random() < 0.15:
                self.kills += 1
                self.words = None
                self.plans.append(0)
            else:
                self.append(self.words.pop(0))
        elif self.plans:
            self.plans.pop()
            self.rounds += 1
            self.append(round_opened(self.rounds))
            if self.kills and self.random.random() < 0.3:
                # one that was thought dead speaks up
                self.append(not_planned(round=self.rounds - 1))
            self.words = self.a_turn()

    def a_turn(self) -> list[AnyEvent]:
        """What a planner says in one round: pieces, then the whole, which may differ from them, or a refusal."""
        before = fold(Progress(), self.log)
        solved = [s.id for s in before.subtasks if before.steps[s.id].state == "solved"]
        begun = some_subtasks(self.random, self.size, solved)
        fallbacks = some_fallbacks(self.random, begun)
        pieces, words = DispatchedSubtasks(), []
        rest = self.random.sample(begun, len(begun)) if self.random.random() < 0.7 else []
        while rest:
            size = self.random.randint(1, len(rest))
            piece = pieces.take(planned(rest[:size], closed=False, fallbacks=fallbacks))
            words.append(in_round(piece, self.rounds, before.steps))
            rest = rest[size:]
        if self.random.random() < 0.1:
            return [*words, not_planned(round=self.rounds)]
        whole = altered(self.random, begun)
        usage = Usage(calls=1, cost=self.random.randrange(9))
        again = self.random.random() < 0.7
        final = pieces.reconciled(planned(whole, fallbacks=fallbacks, usage=usage, again=again))
        return [*words, in_round(final, self.rounds, before.steps)]

    # -- decisions

    def read(self) -> None:
        """Read, look up and decide; the write comes later, or never."""
        folded, _ = advance(Progress.model_validate_json(self.saved), *self.log[self.cursor :])
        decided, looked = folded, list[AnyEvent]()
        while places := needed(decided):
            looked.append(self.looked_up(places))
            decided = fold(decided, looked[-1:])
        assert decide(decided) == decide(decided)
        self.thought = folded, len(self.log), tuple(looked), decide(decided)

    def looked_up(self, places: Iterable[str]) -> Valued:
        """Results never change, so who looks twice finds the same."""
        values: dict[str, Any] = {}
        missing: dict[str, str] = {}
        for place in places:
            dice = Random(place)
            if dice.random() < 0.15:
                missing[place] = "nothing"
            else:
                values[place] = dice.randint(0, MAX_ITEMS + 1) if place.endswith("[]") else dice.choice((0, 1, "word"))
        return Valued(values=values, missing=missing)

    def write(self) -> None:
        """Write what was decided, whatever has been appended since."""
        assert self.thought is not None
        progress, self.cursor, looked, actions = self.thought
        self.thought = None
        self.check(progress, looked, actions)
        assert Progress.model_validate_json(progress.model_dump_json()) == progress
        self.saved = progress.model_dump_json(exclude_defaults=True)
        self.append(*looked, *written(actions))
        for action in actions:
            match action:
                case Release():
                    self.queue.append((action.subtask, action.attempt))
                case AskAnswer():
                    self.ask("answer", action.number, self.answers)
                case AskPlan():
                    self.ask("plan", action.number, self.plans)
                case End():
                    self.append(Ended(ending=action.ending))

    def ask(self, what: str, number: int, waiting: list[int]) -> None:
        """As the script that writes a decision does: each number once."""
        if number > self.asked.get(what, 0):
            self.asked[what] = number
            waiting.append(number)

    def start(self) -> None:
        """Some attempt is claimed, and once more when its worker is lost."""
        name, attempt = self.queue.pop(self.random.randrange(len(self.queue)))
        for claim in range(1, 3 if self.trouble and self.random.random() < 0.2 else 2):
            self.append(started(name, attempt, claim=claim))
            self.runs.append((name, attempt))

    def report(self) -> None:
        """Some attempt comes to its end, not necessarily the oldest."""
        name, attempt = self.runs.pop(self.random.randrange(len(self.runs)))
        fate, size = self.random.random(), self.random.choice((10, 10, HEAVY))
        usage = Usage(calls=1, cost=self.random.randrange(9))
        body = f"{name}.{attempt}.{len(self.log)}"
        event = OutcomeRecorded(subtask=name, attempt=attempt, body=body, size=size, usage=usage)
        if fate < 0.4:
            reason: Reason = self.random.choice(("timeout", "timeout", "over_budget"))
            failure = Failure(reason=reason, message="slow", retryable=fate < 0.25)
            event = event.model_copy(update={"body": "", "size": 0, "failure": failure})
        self.append(event)

    def answer(self) -> None:
        number = self.answers.pop()
        lacking = answered("").model_copy(update={"lacking": "the price"})
        self.append(self.random.choice((answered(f"answer.{number}"), not_answered(), lacking)))

    # -- what happens

    def move(self) -> None:
        """One random thing happens."""
        dice = self.random.random()
        if dice < 0.03 and self.interrupted:
            self.append(self.random.choice((cancel_asked(), tick(DUE))))
        elif dice < 0.05:
            self.append(cancel_asked(self.random.choice([*fold(Progress(), self.log).steps, "nothing"])))
        elif dice < 0.07:
            self.append(tick(DUE - 1))
        elif dice < 0.2:
            self.plan()
        elif dice < 0.4 and self.queue:
            self.start()
        elif dice < 0.6 and self.runs:
            self.report()
        elif dice < 0.65 and self.answers:
            self.answer()
        elif self.thought is None:
            self.read()
        elif dice < 0.7:
            self.thought = None
        else:
            self.write()

    def calm_down(self) -> None:
        """From here on nothing goes wrong any more; the job must come to its end by itself."""
        self.trouble, self.thought = False, None
        for _ in range(2_000):
            self.read()
            self.write()
            if self.ended:
                return
            if self.words or self.plans:
                self.plan()
            elif self.queue:
                self.start()
            elif self.runs:
                self.report()
            elif self.answers:
                self.answer()
        pytest.fail("the job never ended")

    # -- what must hold whenever a decision is written

    def check(self, progress: Progress, looked: tuple[AnyEvent, ...], actions: tuple[Action, ...]) -> None:
        self.story.told(self.log[self.told : self.cursor])
        self.told = self.cursor
        self.check_progress(self.story, progress)
        story = deepcopy(self.story).told(looked) if looked else self.story
        given = [action for action in actions if isinstance(action, Release)]
        for release in given:
            whole = story.joined[release.subtask.partition("#")[0]]
            assert story.parts()[release.subtask] == "open"
            assert all(story.states()[i] in ("solved", "skipped") for i in whole.depends_on)
            assert release.attempt not in story.released.get(release.subtask, ()), "released twice"
            assert release.expert == story.chain_of(release.subtask)[story.turn(release.subtask)]
        if at_once := [release for release in given if not release.delay]:
            assert len(story.in_flight()) + len(at_once) <= story.accepted.window

        if not looked and story.ending() is None and not story.asks_for_a_plan():
            delayed = {name for name, step in progress.steps.items() if step.state == "retrying" and step.delay}
            assert delayed <= {release.subtask for release in given}, "a delay begins at once"

        ends = [action.ending for action in actions if isinstance(action, End)]
        expected = story.ending()
        waits = expected in ("completed", "partial") and story.heavy() and not story.answered
        assert any(isinstance(action, AskAnswer) for action in actions) == waits
        assert ends == ([] if expected is None or waits else [expected])
        assert any(isinstance(action, AskPlan) for action in actions) == (expected is None and story.asks_for_a_plan())
        if not ends:
            withdrawals = {(a.subtask, a.attempt) for a in actions if isinstance(a, Withdraw)}
            assert withdrawals == story.to_take_back()

    def check_progress(self, story: Story, progress: Progress) -> None:
        assert progress.settled == story.settled()
        parts = story.parts()
        empty = story.over_nothing()
        solved = {name for name, how in parts.items() if how == "solved"}
        assert progress.solved.keys() - story.withdrawn == solved - empty
        shown = {name for name, how in parts.items() if how != "skipped"}
        assert {part.id for part in progress.parts()} == shown - empty
        assert {m.subtask for m in progress.missing()} == {n for n, how in parts.items() if how not in WELL}
        for name, body in progress.solved.items():
            assert body == story.solved[name].body
            assert self.first_bodies.setdefault(name, body) == body
        assert progress.usage == story.usage


WELL = ("solved", "skipped")


def a_history(seed: int, size: int, moves: int, interrupted: bool) -> World:
    """A job of about `size` subtasks from its first event to its end; after `moves` nothing goes wrong any more."""
    random = Random(seed)
    world = World(random, size, replans=random.randint(0, 2), interrupted=interrupted)
    attempts, window = random.randint(1, 3), random.choice((1, 2, 3, 64))
    world.append(accepted(attempts=attempts, window=window, due=DUE, replans=world.replans, max_items=MAX_ITEMS))
    if random.random() < 0.3:
        given = some_subtasks(random, max(1, size), [])
        world.append(planned(given, fallbacks=some_fallbacks(random, given)))
    else:
        world.ask("plan", 1, world.plans)
    for _ in range(moves):
        world.move()
        if world.ended:
            return world
    world.calm_down()
    return world
