"""A subtask whose expert finds nothing goes to the runner-up of the plan, once."""

from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import End, Release, advance
from swarm.types.events import AnyEvent, OutcomeRecorded
from swarm.types.result import Usage
from tests.builders import a_plan, accepted, failed, go, planned, released, releases, solved

OPENING: tuple[AnyEvent, ...] = (accepted(), planned(a_plan("a:x", "b:y<-a"), runner_ups={"a": "z"}))


def nothing(attempt: int, expert: str = "x") -> OutcomeRecorded:
    usage = Usage(calls=1)
    return solved("a", attempt, found=False, usage=usage).model_copy(update={"expert": expert})


def asked_again() -> Progress:
    progress, actions = go(go(Progress(), *OPENING)[0], nothing(1))
    assert actions == (Release(subtask="a", attempt=2, expert="z"),)
    return progress


def test_what_the_runner_up_finds_stands_and_both_are_counted() -> None:
    progress, actions = go(asked_again(), solved("a", 2, usage=Usage(calls=2)))

    step = progress.steps["a"]
    assert (step.state, step.body, step.nothing_by, step.usage) == ("solved", "a.2", "x", Usage(calls=3))
    assert progress.expert_of(progress.subtasks[0]) == "z"
    assert releases(actions) == [("b", 1)]


def test_the_first_result_stands_if_the_runner_up_finds_nothing_or_fails() -> None:
    for outcome in (nothing(2, "z"), failed("a", 2, retryable=True)):
        progress, actions = go(asked_again(), outcome)

        assert (progress.steps["a"].state, progress.steps["a"].body) == ("solved", "a.1")
        assert progress.expert_of(progress.subtasks[0]) == "x"
        assert releases(actions) == [("b", 1)]


def test_an_outcome_that_comes_again_neither_asks_nor_settles_again() -> None:
    waiting = asked_again()
    progress, actions = go(waiting, nothing(1))

    assert (actions, progress.steps["a"].state, progress.steps["a"].attempt) == ((), "running", 2)


def test_a_late_solution_of_the_first_expert_counts_as_its_own() -> None:
    progress, _ = go(asked_again(), solved("a", 1, body="late"))

    assert (progress.steps["a"].body, progress.expert_of(progress.subtasks[0])) == ("late", "x")


def test_without_a_runner_up_nothing_found_is_a_result() -> None:
    progress, _ = go(Progress(), accepted(), planned(a_plan("a:x")))
    _, actions = advance(progress, nothing(1))

    assert actions == (End(ending="completed"),)


def test_folding_the_log_at_once_or_piece_by_piece_gives_the_same() -> None:
    log = (*OPENING, released("a"), nothing(1), released("a", 2, expert="z"), nothing(1), nothing(2, "z"))
    piecemeal = Progress()
    for event in log:
        piecemeal = fold(piecemeal, [event])

    assert piecemeal == fold(Progress(), log)
    assert piecemeal.steps["a"].body == "a.1"
