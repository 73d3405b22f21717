"""A small world around the scheduler, in which everything that may go wrong with events does, in random order.

Planners write, die and come back; attempts run twice, late and out of order; decisions are lost, or reach the log
after outcomes they did not know; somebody cancels, the deadline passes. A `Story` tells the same log again in the
plainest way, without the scheduler's code, and says what should have happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.models import (
    Accepted,
    Answered,
    AnyEvent,
    CancelAsked,
    Ended,
    Ending,
    Failure,
    OutcomeRecorded,
    Planned,
    Released,
    RoundOpened,
    Subtask,
    Tick,
    Usage,
    event_adapter,
)
from swarm.scheduler import HEAVY, Action, AskAnswer, End, Progress, Release, Withdraw, advance, fold
from tests.builders import (
    accepted,
    answered,
    cancel_asked,
    not_answered,
    not_planned,
    planned,
    round_opened,
    tick,
    written,
)

DUE = 10_000
EXPERTS = ("x", "y", "z")


# -- the oracle ------------------------------------------------------------------------------------------------


@dataclass
class Story:
    """What a log means, told plainly."""

    attempts: int = 0
    window: int = 0
    open_round: int | None = None
    whole: bool = False
    joined: dict[str, Subtask] = field(default_factory=dict)
    round_of: dict[str, int] = field(default_factory=dict)
    chain: dict[str, tuple[str, ...]] = field(default_factory=dict)
    above: dict[str, set[str]] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    solved: dict[str, OutcomeRecorded] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    released: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, dict[int, Failure]] = field(default_factory=dict)
    """By attempt: only the failure of the last attempt released counts, once."""
    cancelled: bool = False
    late: bool = False
    rejected: bool = False
    finished: Ending | None = None
    answered: bool = False
    usage: Usage = field(default_factory=Usage)

    @classmethod
    def of(cls, log: list[AnyEvent]) -> Story:
        story = cls()
        for event in log:
            story.tell(event)
            story.see_whether_finished()
        return story

    def tell(self, event: AnyEvent) -> None:
        match event:
            case Accepted():
                self.attempts, self.window = event.attempts, event.window
            case RoundOpened():
                if self.open_round is not None:
                    self.withdraw(self.open_round)
                self.open_round = event.round
            case Planned():
                if event.round == self.open_round or (event.round == 0 and not self.whole):
                    self.plan(event)
            case Released():
                self.released.setdefault(event.subtask, []).append(event.attempt)
            case OutcomeRecorded():
                self.usage += event.usage
                self.outcome(event)
            case Tick():
                self.late |= event.at >= DUE
            case CancelAsked():
                self.cancelled = True
            case Answered():
                self.answered = True

    def plan(self, event: Planned) -> None:
        if event.failure is not None:
            self.withdraw(event.round)
            self.open_round, self.rejected = None, not self.whole
            return
        for subtask in event.subtasks:
            self.joined[subtask.id] = subtask
            self.round_of[subtask.id] = event.round
            self.chain[subtask.id] = (subtask.expert, *event.fallbacks.get(subtask.id, ()))
        if event.closed:
            self.open_round, self.whole = None, True

    def withdraw(self, number: int) -> None:
        self.withdrawn |= {name for name, round in self.round_of.items() if round == number}

    def outcome(self, event: OutcomeRecorded) -> None:
        name = event.subtask
        if name in self.withdrawn or name in self.given_up or name in self.solved:
            return
        if event.failure is None:
            self.solved[name] = event
        elif event.attempt == self.released[name][-1]:
            self.failures.setdefault(name, {}).setdefault(event.attempt, event.failure)
            if self.turn(name) == len(self.chain[name]):
                self.given_up.add(name)

    def turn(self, name: str) -> int:
        """Which expert of the chain is to be asked next, the chain's length when none is left."""
        turn = tried = 0
        for _, failure in sorted(self.failures.get(name, {}).items()):
            tried += 1
            if not failure.retryable or tried == self.attempts:
                turn, tried = turn + 1, 0
        return turn

    def see_whether_finished(self) -> None:
        if not self.whole or self.open_round is not None or self.finished or self.live() - self.settled():
            return
        won = len(self.live() & self.solved.keys())
        if not self.live():
            self.rejected = True
        else:
            self.finished = "completed" if won == len(self.live()) else "partial" if won else "failed"

    # -- what follows from that

    def live(self) -> set[str]:
        return self.joined.keys() - self.withdrawn

    def ancestors(self, name: str) -> set[str]:
        if name not in self.above:
            parents = set(self.joined[name].depends_on)
            self.above[name] = parents.union(*(self.ancestors(parent) for parent in parents))
        return self.above[name]

    def lost(self) -> set[str]:
        """Descendants of what was given up."""
        return {name for name in self.live() if self.ancestors(name) & self.given_up}

    def settled(self) -> set[str]:
        return self.live() & (self.solved.keys() | self.given_up | self.lost())

    def in_flight(self) -> set[str]:
        """Subtasks whose last released attempt is not known to be over."""
        open_ones = self.live() & self.released.keys() - self.settled()
        return {name for name in open_ones if self.released[name][-1] not in self.failures.get(name, {})}

    def ending(self) -> Ending | None:
        if self.cancelled:
            return "cancelled"
        if self.late:
            return "deadline"
        return "rejected" if self.rejected else self.finished

    def heavy(self) -> bool:
        return sum(self.solved[name].size for name in self.live() & self.solved.keys()) > HEAVY


# -- the world -------------------------------------------------------------------------------------------------


@dataclass
class Planner:
    """Rounds of a planner: each is some parts, and a last word that may never come."""

    rounds: list[list[Planned]]

    def next(self, random: Random) -> tuple[AnyEvent, ...]:
        """The next thing it says. Its words may be followed by those of one that was thought dead."""
        if not self.rounds:
            return ()
        words = self.rounds[0]
        if not words:
            self.rounds.pop(0)
            return self.next(random)
        word = words.pop(0)
        opening = () if word.round == 0 or word.notes else (round_opened(word.round),)
        zombie = word.model_copy(update={"round": word.round - 1, "closed": True})
        stale = (zombie,) if opening and word.round > 1 and random.random() < 0.3 else ()
        return (*opening, *stale, *(() if word.planner == "dead" else (word,)))


@dataclass
class World:
    """One job: its log, the attempts in the queue, and a decider that reads, thinks and writes."""

    random: Random
    planner: Planner
    log: list[AnyEvent] = field(default_factory=list)
    saved: str = Progress().model_dump_json()
    cursor: int = 0
    thought: tuple[Progress, int, tuple[Action, ...]] | None = None
    runs: list[tuple[str, int]] = field(default_factory=list)
    """Attempts that may still report; some are there twice."""
    asked: bool = False
    interrupted: bool = True
    """Whether somebody may cancel, and the deadline pass."""
    trouble: bool = True
    first_bodies: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return bool(self.log) and isinstance(self.log[-1], Ended)

    def append(self, *events: AnyEvent) -> None:
        for event in events:
            if not self.ended:
                self.log.append(event.model_copy(update={"id": f"{len(self.log) + 1}-{event.at}"}))

    # -- moves

    def read(self) -> None:
        """Read and decide; the write comes later, or never."""
        progress = Progress.model_validate_json(self.saved)
        progress, actions = advance(progress, *self.log[self.cursor :])
        self.thought = progress, len(self.log), actions

    def write(self) -> None:
        """Write what was decided, whatever has been appended since."""
        assert self.thought is not None
        progress, self.cursor, actions = self.thought
        self.thought = None
        self.check(progress, actions)
        kept = Progress.model_validate_json(progress.model_dump_json())
        assert kept == progress
        self.saved = progress.model_dump_json(exclude_defaults=True)
        self.append(*written(actions))
        for action in actions:
            match action:
                case Release():
                    self.runs.append((action.subtask, action.attempt))
                    if self.trouble and self.random.random() < 0.2:
                        self.runs.append((action.subtask, action.attempt))
                case AskAnswer():
                    self.asked = True
                case End():
                    self.append(Ended(ending=action.ending))

    def report(self) -> None:
        """Some attempt comes to its end, not necessarily the oldest."""
        name, attempt = self.runs.pop(self.random.randrange(len(self.runs)))
        fate, size = self.random.random(), self.random.choice((10, 10, HEAVY))
        usage = Usage(calls=1, cost=self.random.randrange(9))
        body = f"{name}.{attempt}.{len(self.log)}"
        event = OutcomeRecorded(subtask=name, attempt=attempt, body=body, size=size, usage=usage)
        if fate < 0.4:
            failure = Failure(reason="timeout", message="slow", retryable=fate < 0.25)
            event = event.model_copy(update={"body": "", "size": 0, "failure": failure})
        self.append(event)

    def move(self) -> None:
        """One random thing happens."""
        dice = self.random.random()
        if dice < 0.03 and self.interrupted:
            self.append(self.random.choice((cancel_asked(), tick(DUE))))
        elif dice < 0.06:
            self.append(tick(DUE - 1))
        elif dice < 0.2:
            self.append(*self.planner.next(self.random))
        elif dice < 0.6 and self.runs:
            self.report()
        elif dice < 0.65 and self.asked:
            self.append(self.random.choice((answered(), not_answered())))
        elif self.thought is None:
            self.read()
        elif dice < 0.7:
            self.thought = None
        else:
            self.write()

    def calm_down(self) -> None:
        """From here on nothing goes wrong any more; the job must come to its end by itself."""
        self.trouble = False
        self.thought = None
        while self.planner.rounds:
            self.append(*self.planner.next(self.random))
        for _ in range(500):
            self.read()
            self.write()
            if self.ended:
                return
            if self.runs:
                self.report()
            elif self.asked:
                self.append(answered())
        pytest.fail("the job never ended")

    # -- what must hold whenever a decision is written

    def check(self, progress: Progress, actions: tuple[Action, ...]) -> None:
        story = Story.of(self.log[: self.cursor])
        given = [action for action in actions if isinstance(action, Release)]
        for release in given:
            assert release.subtask in story.live() - story.settled()
            assert set(story.joined[release.subtask].depends_on) <= story.solved.keys()
            assert release.attempt not in story.released.get(release.subtask, ()), "released twice"
            assert release.expert == story.chain[release.subtask][story.turn(release.subtask)]
        if given:
            assert len(story.in_flight()) + len(given) <= story.window

        assert progress.settled == story.settled() | story.withdrawn
        assert {name for name, step in progress.steps.items() if step.state == "dropped"} == story.lost()
        assert progress.solved == {
            subtask.id: story.solved[subtask.id].body for subtask in progress.subtasks if subtask.id in story.solved
        }
        for name, body in progress.solved.items():
            assert self.first_bodies.setdefault(name, body) == body
        assert progress.usage == story.usage

        ends = [action.ending for action in actions if isinstance(action, End)]
        asks = AskAnswer() in actions
        expected = story.ending()
        waits = expected in ("completed", "partial") and story.heavy() and not story.answered
        assert asks == waits
        assert ends == ([] if expected is None or waits else [expected])
        if not ends:
            started = {(name, story.released[name][-1]) for name in story.withdrawn & story.released.keys()}
            assert {(a.subtask, a.attempt) for a in actions if isinstance(a, Withdraw)} == started


# -- random worlds ---------------------------------------------------------------------------------------------


def some_subtasks(random: Random, prefix: str, count: int, earlier: list[str]) -> list[Subtask]:
    """A random acyclic graph, which may also wait for `earlier` subtasks; parents come first."""
    known, found = list(earlier), []
    for number in range(count):
        parents = random.sample(known, min(len(known), random.choice((0, 0, 1, 1, 2, 3))))
        name = f"{prefix}{number}"
        expert = random.choice(EXPERTS)
        found.append(Subtask(id=name, expert=expert, instruction="do", depends_on=tuple(parents)))
        known.append(name)
    return found


def words_of(random: Random, number: int, subtasks: list[Subtask], last: str) -> list[Planned]:
    """What a planner says in one round: the subtasks in one part or several, then its last word."""
    words: list[Planned] = []
    rest = list(subtasks)
    while rest and (last != "closed" or random.random() < 0.7):
        size = random.randint(1, len(rest))
        words.append(a_part(random, number, rest[:size], closed=False))
        rest = rest[size:]
    if last == "closed":
        words.append(a_part(random, number, rest, closed=True))
    elif last == "failed":
        words.append(not_planned(round=number))
    if not words:
        words.append(Planned(round=number, planner="dead"))
    # `notes` marks every word but the first of its round, which opens it.
    return [words[0], *(word.model_copy(update={"notes": ("more",)}) for word in words[1:])]


def a_part(random: Random, number: int, subtasks: list[Subtask], *, closed: bool) -> Planned:
    fallbacks = {
        s.id: tuple(random.sample(EXPERTS, random.choice((1, 1, 2)))) for s in subtasks if random.random() < 0.3
    }
    mixed = random.sample(subtasks, len(subtasks))
    return planned(mixed, round=number, closed=closed, fallbacks=fallbacks)


def a_planner(random: Random, size: int) -> Planner:
    """Either the caller's plan, or rounds of which some are killed; then perhaps another round over the whole."""
    if random.random() < 0.3:
        return Planner([[a_part(random, 0, some_subtasks(random, "t", size, []), closed=True)]])
    rounds: list[list[Planned]] = []
    number = 1
    while random.random() < 0.4 and number < 4:
        lost = some_subtasks(random, f"r{number}.", random.randint(0, min(4, size)), [])
        rounds.append(words_of(random, number, lost, "killed"))
        number += 1
    last = "failed" if random.random() < 0.1 else "closed"
    subtasks = some_subtasks(random, f"r{number}.", size, [])
    rounds.append(words_of(random, number, subtasks, last))
    if last == "closed" and random.random() < 0.3:
        more = some_subtasks(random, f"r{number + 1}.", random.randint(0, 3), [s.id for s in subtasks])
        rounds.append(words_of(random, number + 1, more, random.choice(("closed", "closed", "failed"))))
    return Planner(rounds)


def a_history(seed: int, size: int, moves: int, interrupted: bool) -> World:
    """A job of about `size` subtasks from its first event to its end; after `moves` nothing goes wrong any more."""
    random = Random(seed)
    world = World(random, a_planner(random, size), interrupted=interrupted)
    attempts, window = random.randint(1, 3), random.choice((1, 2, 3, 64))
    world.append(accepted(attempts=attempts, window=window, due=DUE))
    for _ in range(moves):
        world.move()
        if world.ended:
            return world
    world.calm_down()
    return world


histories = st.builds(
    a_history, st.integers(0, 2**32), size=st.integers(0, 12), moves=st.integers(0, 120), interrupted=st.booleans()
)


@settings(max_examples=150, deadline=None)
@given(histories)
def test_every_job_ends_once_and_as_its_log_says(world: World) -> None:
    # `World.check` holds each decision against the story of the log.
    assert [type(event) for event in world.log].count(Ended) == 1
    assert isinstance(world.log[-1], Ended)


@settings(max_examples=50, deadline=None)
@given(histories)
def test_folding_again_from_any_cursor_gives_the_same(world: World) -> None:
    whole = fold(Progress(), world.log)
    before = Progress()
    for cut, event in enumerate(world.log):
        assert fold(Progress.model_validate_json(before.model_dump_json()), world.log[cut:]) == whole
        before = fold(before, [event])
    assert before == whole


@settings(max_examples=50, deadline=None)
@given(histories)
def test_a_log_means_the_same_after_its_way_through_redis(world: World) -> None:
    read = [event_adapter.validate_json(event.model_dump_json()) for event in world.log]

    assert read == world.log
    assert fold(Progress(), read) == fold(Progress(), world.log)


@settings(max_examples=50, deadline=None)
@given(histories, st.data())
def test_nothing_changes_an_ended_job(world: World, data: st.DataObject) -> None:
    end = fold(Progress(), world.log)
    late = data.draw(st.lists(st.sampled_from(world.log), max_size=5))

    assert advance(end, *late) == (end, ())
