"""What holds for a job in whatever order things happen to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.engine.progress import Progress
from swarm.engine.reducer import fold
from swarm.engine.scheduler import advance
from swarm.types.events import Ended, Planned, event_adapter
from tests.properties.engine.world import World, a_history

histories = st.builds(
    a_history, st.integers(0, 2**32), size=st.integers(0, 10), moves=st.integers(0, 120), interrupted=st.booleans()
)


@given(histories)
def test_every_job_ends_once_and_as_its_log_says(world: World) -> None:
    # `World.check` holds each decision against the story of the log.
    assert [type(event) for event in world.log].count(Ended) == 1
    assert isinstance(world.log[-1], Ended)


@given(histories)
def test_the_number_of_rounds_is_bounded(world: World) -> None:
    closed = [event for event in world.log if isinstance(event, Planned) and event.closed and event.failure is None]

    assert world.rounds <= 1 + world.replans + world.kills
    assert len(closed) <= 1 + world.replans


@given(histories)
def test_folding_again_from_any_cursor_gives_the_same(world: World) -> None:
    whole = fold(Progress(), world.log)
    before = Progress()
    for cut, event in enumerate(world.log):
        assert fold(Progress.model_validate_json(before.model_dump_json()), world.log[cut:]) == whole
        before = fold(before, [event])
    assert before == whole


@given(histories)
def test_a_log_means_the_same_after_its_way_through_redis(world: World) -> None:
    read = [event_adapter.validate_json(event.model_dump_json()) for event in world.log]

    assert read == world.log
    assert fold(Progress(), read) == fold(Progress(), world.log)


@given(histories, st.data())
def test_nothing_changes_an_ended_job(world: World, data: st.DataObject) -> None:
    end = fold(Progress(), world.log)
    late = data.draw(st.lists(st.sampled_from(world.log), max_size=5))

    assert advance(end, *late) == (end, ())
