"""What a job does next, one behaviour at a time; the properties beside it search for orders that break it."""

from swarm.engine import retry
from swarm.engine.scheduler import End, Release, advance, decide
from swarm.types.events import OutcomeRecorded
from tests.builders import (
    begun,
    failed,
    go,
    releases,
    solved,
    started,
)

# -- releases


def test_what_waits_for_nothing_is_released_at_once_in_the_order_of_the_plan() -> None:
    _, actions = go(begun("b", "a", "c"))

    assert releases(actions) == [("b", 1), ("a", 1), ("c", 1)]


def test_a_release_names_the_expert_of_the_subtask() -> None:
    _, actions = go(begun("a:policy"))

    assert actions == (Release(subtask="a", attempt=1, expert="policy"),)


def test_nothing_is_released_twice() -> None:
    progress, _ = go(begun("a", "b"))
    _, actions = go(progress, started("a"))

    assert actions == ()


def test_deciding_again_after_a_lost_write_gives_the_same() -> None:
    progress = begun("a", "b<-a")

    assert decide(progress) == decide(progress) == advance(progress)[1]


def test_a_subtask_is_released_when_all_it_waits_for_is_solved() -> None:
    progress, _ = go(begun("a", "b", "c<-a,b"))
    progress, actions = go(progress, solved("a"))
    assert actions == ()

    _, actions = go(progress, solved("b"))
    assert releases(actions) == [("c", 1)]


def test_the_window_bounds_what_is_in_flight() -> None:
    progress, actions = go(begun("a", "b", "c", "d", window=2))
    assert releases(actions) == [("a", 1), ("b", 1)]

    progress, actions = go(progress, solved("b"))
    assert releases(actions) == [("c", 1)]


def test_a_retry_that_waits_leaves_its_place_in_the_window_until_it_starts() -> None:
    progress, _ = go(begun("a", "b", "c", window=1))
    progress, actions = go(progress, failed("a", retryable=True, retry_after=600))
    assert releases(actions) == [("b", 1), ("a", 2)], "b has the place, and the delay of a begins"
    assert progress.steps["a"].delay == 600_000

    begun_again, actions = go(progress, started("a", 2), solved("b"))
    assert actions == (), "a is back and has the place"
    assert begun_again.steps["a"].delay == 0
    assert releases(go(begun_again, solved("a", 2))[1]) == [("c", 1)]

    assert releases(go(progress, solved("b"))[1]) == [("c", 1)], "while a still waits"


def test_a_start_of_an_earlier_attempt_does_not_end_the_wait_of_the_next() -> None:
    progress, _ = go(begun("a"))
    progress, _ = go(progress, failed("a", retryable=True, retry_after=600))

    assert go(progress, started("a", 1, claim=2)) == (progress, ())


def test_a_retry_without_a_delay_keeps_its_place_in_the_plan() -> None:
    progress, _ = go(begun("a", "b", window=1))
    _, actions = go(progress, failed("a", retryable=True, retry_after=0))

    assert releases(actions) == [("a", 2)]


# -- failures


def test_a_retryable_failure_is_tried_again_after_a_delay() -> None:
    progress, _ = go(begun("a"))
    _, actions = go(progress, failed("a", retryable=True))

    (release,) = actions
    assert isinstance(release, Release)
    assert release.attempt == 2
    assert 100 <= release.delay <= 200


def test_a_server_that_asks_for_time_gets_it() -> None:
    progress, _ = go(begun("a"))
    _, actions = go(progress, failed("a", reason="unavailable", retryable=True, retry_after=7))

    assert actions == (Release(subtask="a", attempt=2, expert="x", delay=7_000),)


def test_what_a_server_refuses_because_of_its_limits_is_no_attempt_but_has_an_end() -> None:
    progress, _ = go(begun("a", attempts=2))
    for attempt in range(1, retry.REFUSALS):
        progress, actions = go(progress, failed("a", attempt, retryable=True, limited=True), started("a", attempt + 1))
        assert progress.steps["a"].tried == 0
        assert isinstance(actions[0], Release)
    assert progress.steps["a"].refused == retry.REFUSALS - 1

    _, actions = go(progress, failed("a", retry.REFUSALS, retryable=True, limited=True))
    assert actions == (End(ending="failed"),)


def test_a_refusal_because_of_limits_is_an_attempt_where_a_fallback_can_take_over() -> None:
    progress, _ = go(begun("a", attempts=1, fallbacks={"a": ("y",)}))
    progress, actions = go(progress, failed("a", retryable=True, limited=True))
    assert actions == (Release(subtask="a", attempt=2, expert="y", delay=0),)

    progress, actions = go(progress, failed("a", 2, retryable=True, limited=True))
    assert isinstance(actions[0], Release), "the last one waits"


def test_where_a_model_is_known_to_fail_a_fallback_takes_over_at_once_and_without_one_it_is_no_attempt() -> None:
    def known(attempt: int = 1) -> OutcomeRecorded:
        return failed("a", attempt, retryable=True, limited=True, broken=True, retry_after=5)

    helped, _ = go(begun("a", attempts=3, fallbacks={"a": ("y",)}))
    alone, _ = go(begun("a", attempts=1))

    helped, first = go(helped, known())
    _, last = go(helped, known(2))
    alone, waits = go(alone, known())

    assert first == (Release(subtask="a", attempt=2, expert="y", delay=0),)
    assert last == (Release(subtask="a", attempt=3, expert="y", delay=5_000),)
    assert waits == (Release(subtask="a", attempt=2, expert="x", delay=5_000),)
    assert alone.steps["a"].tried == 0


def test_a_delay_is_waited_for_once() -> None:
    progress, _ = go(begun("a"))
    progress, _ = go(progress, failed("a", retryable=True, retry_after=7))
    progress, _ = go(progress, started("a", 2))

    assert progress.steps["a"].delay == 0


def test_a_last_failure_settles_its_descendants_and_spares_the_rest() -> None:
    progress, _ = go(begun("a", "b", "c<-a", "d<-c", attempts=1))
    progress, actions = go(progress, failed("a", reason="timeout", retryable=True))

    assert actions == ()
    assert progress.settled == {"a", "c", "d"}
    assert [(m.subtask, m.reason, m.because) for m in progress.missing() if m.subtask != "b"] == [
        ("a", "timeout", None),
        ("c", "dependency", "a"),
        ("d", "dependency", "a"),
    ]


def test_a_failure_that_cannot_be_retried_is_final_at_once() -> None:
    progress, _ = go(begun("a", "b", attempts=3))
    progress, actions = go(progress, failed("a", reason="refused"))

    assert actions == ()
    assert progress.settled == {"a"}


def test_fallbacks_are_tried_in_order_each_with_its_own_attempts() -> None:
    progress, actions = go(begun("a", attempts=2, fallbacks={"a": ("y", "z")}))
    experts = [actions[0].expert] if isinstance(actions[0], Release) else []
    for attempt, retryable in ((1, True), (2, True), (3, False), (4, True)):
        progress, actions = go(progress, failed("a", attempt, retryable=retryable))
        experts += [action.expert for action in actions if isinstance(action, Release)]
    assert experts == ["x", "x", "y", "z", "z"]

    _, actions = go(progress, failed("a", 5, retryable=True))
    assert actions == (End(ending="failed"),)


def test_a_fallback_is_asked_without_delay() -> None:
    progress, _ = go(begun("a", attempts=1, fallbacks={"a": ("y",)}))
    _, actions = go(progress, failed("a", retryable=True, retry_after=60))

    assert actions == (Release(subtask="a", attempt=2, expert="y", delay=0),)


def test_what_is_missing_names_the_expert_that_had_it_last() -> None:
    progress, _ = go(begun("a", "b", attempts=1, fallbacks={"a": ("y",)}))
    progress, _ = go(progress, failed("a"))
    progress, _ = go(progress, failed("a", 2, reason="bad_output"))

    assert [(m.expert, m.reason, m.message) for m in progress.missing()] == [
        ("y", "bad_output", "a: bad_output"),
        ("x", "unfinished", "it was under way when the job ended"),
    ]
