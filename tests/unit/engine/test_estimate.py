"""What a plan will take, by the records of its experts; what is not known stays unknown."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.engine.estimate import BUCKETS, Estimate, ExpertStats, bucket, estimate, levels
from swarm.types.plan import Condition, Plan, Subtask
from tests.builders import a_plan


def ran(*seconds: float, **more: int) -> ExpertStats:
    """The record of solved attempts that took so long."""
    times: dict[int, int] = {}
    for each in seconds:
        times[bucket(each * 1000)] = times.get(bucket(each * 1000), 0) + 1
    return ExpertStats(**{"attempts": len(seconds), "solved": len(seconds)} | more, times=times)


def near(seconds: float) -> object:
    """Within the width of a bucket."""
    return pytest.approx(seconds, rel=0.19)


# -- quantiles


@given(st.lists(st.integers(2, 800_000), min_size=1, max_size=200))
def test_a_median_is_off_by_a_bucket_at_most(times: list[int]) -> None:
    found = ran(*(ms / 1000 for ms in times)).quantile(0.5)
    low, high = sorted(times)[(len(times) - 1) // 2], sorted(times)[len(times) // 2]

    assert found is not None
    assert low / 2**0.25 * 0.999 <= found * 1000 <= high * 2**0.25 * 1.001


@given(st.floats(0, 1e12))
def test_every_time_has_a_bucket(ms: float) -> None:
    assert 0 <= bucket(ms) < BUCKETS


def test_medians_and_p90_are_near_those_of_the_times() -> None:
    times = [0.1 * i for i in range(1, 101)]
    stats = ran(*times)

    assert stats.quantile(0.5) == pytest.approx(median(times), rel=0.1)
    assert stats.quantile(0.9) == pytest.approx(9.0, rel=0.1)


def test_without_solved_attempts_there_is_no_time_and_no_cost() -> None:
    assert ExpertStats().quantile(0.5) is None
    assert ExpertStats(attempts=3, calls=3, cost=50).cost_each is None


# -- cost


def test_failed_attempts_are_paid_by_those_that_were_solved() -> None:
    assert ran(1, 1, attempts=4, calls=4, cost=400).cost_each == 200


def test_an_expert_without_a_model_costs_nothing_and_one_without_a_price_costs_nobody_knows_what() -> None:
    assert ran(1).cost_each == 0
    assert ran(1, calls=1, input_tokens=10).cost_each is None


# -- plans

STATS = {"fast": ran(*[0.1] * 10), "slow": ran(*[2.0] * 10, calls=10, cost=5000)}


def of(*words: str) -> Estimate:
    return estimate(a_plan(*words), STATS)


def test_what_runs_beside_each_other_takes_as_long_as_the_longer() -> None:
    found = of("a:fast", "b:slow", "c:fast<-a,b")

    assert found.critical_path == ("b", "c")
    assert found.seconds == near(2.1)
    assert (found.seconds_p90 or 0) >= (found.seconds or 0)
    assert found.cost == found.known_cost == 500


def test_an_expert_without_past_runs_makes_the_whole_unknown_and_never_zero() -> None:
    found = of("a:fast", "b:new", "c:fast<-a")
    (new,) = [part for part in found.subtasks if part.id == "b"]

    assert (new.median, new.p90, new.cost, new.tokens, new.note) == (None, None, None, None, "no past runs")
    assert (found.seconds, found.seconds_p90, found.cost, found.unknown) == (None, None, None, ("b",))
    assert found.known_seconds == near(0.2)
    assert found.known_cost == 0


def test_without_any_history_the_longest_chain_is_the_critical_path() -> None:
    assert of("a:new", "b:new", "c:new<-b", "d:new<-a").critical_path in (("b", "c"), ("a", "d"))
    assert of("a:new", "b:new", "c:new<-b").critical_path == ("b", "c")


def test_notes_say_why_a_figure_is_doubtful() -> None:
    stats = {"few": ran(1), "bad": ExpertStats(attempts=2), "dear": ran(*[1] * 9, calls=9), "good": ran(*[1] * 9)}
    plan = a_plan("a:few", "b:bad", "c:dear", "d:good")

    assert [part.note for part in estimate(plan, stats).subtasks] == [
        "few past runs",
        "never solved, in 2 attempts",
        "the price of its model is unknown",
        "",
    ]


def test_conditions_and_items_are_marked() -> None:
    plan = Plan(
        subtasks=(
            Subtask(id="a", expert="fast", instruction="list"),
            Subtask(id="b", expert="fast", instruction="do ${item}", for_each="a.items"),
            Subtask(id="c", expert="fast", instruction="do", when=Condition(result="a.label", equals="x")),
        )
    )

    marks = [(part.conditional, part.per_item) for part in estimate(plan, STATS).subtasks]
    assert marks == [(False, False), (False, True), (True, False)]


# -- order


def test_levels_hold_what_may_run_at_once() -> None:
    plan = a_plan("c<-a,b", "a", "b<-a", "d")

    assert levels(plan.edges) == (("a", "d"), ("b",), ("c",))
