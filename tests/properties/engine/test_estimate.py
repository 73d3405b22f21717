"""What a plan will take, by the records of its experts; what is not known stays unknown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.engine.estimate import estimate, in_order
from swarm.types.plan import Plan, Subtask
from tests.unit.engine.test_estimate import STATS, ran


@given(st.lists(st.floats(0.001, 500), min_size=1, max_size=50))
def test_a_p90_is_never_below_the_median(times: list[float]) -> None:
    stats = ran(*times)

    assert (stats.quantile(0.9) or 0) >= (stats.quantile(0.5) or 0) > 0


@given(st.data())
def test_an_order_puts_everything_after_what_it_waits_for(data: st.DataObject) -> None:
    names = [f"n{i}" for i in range(data.draw(st.integers(1, 12)))]
    edges = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:i]), unique=True))) if i else ()
        for i, name in enumerate(names)
    }
    mixed = data.draw(st.permutations(names))
    order = in_order({name: edges[name] for name in mixed})

    assert sorted(order) == sorted(names)
    assert all(order.index(other) < order.index(name) for name in names for other in edges[name])


def test_a_plan_of_a_thousand_dense_subtasks_is_estimated_at_once() -> None:
    half = tuple(f"a{i}" for i in range(500))
    first = tuple(Subtask(id=name, expert="fast", instruction="x") for name in half)
    rest = tuple(Subtask(id=f"b{i}", expert="slow", instruction="x", depends_on=half) for i in range(500))
    found = estimate(Plan(subtasks=(*first, *rest)), STATS)

    assert len(found.critical_path) == 2
