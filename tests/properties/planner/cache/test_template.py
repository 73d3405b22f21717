from hypothesis import given
from hypothesis import strategies as st

from swarm.planner.cache.examples import Examples, Kept
from swarm.planner.cache.template import fill
from tests.unit.planner.cache.test_template import kept
from tests.unit.planner.local.desk import DESK

WORDS = st.lists(
    st.sampled_from("track order 7 8 Paris Rome 'a b' 'c' then write a reply to Ann Bob . , ${t1} ü".split())
)


@given(WORDS.map(" ".join), WORDS.map(" ".join))
def test_what_is_bound_anew_tells_only_the_new_request(old: str, new: str) -> None:
    if not old.strip() or not new.strip():
        return
    example = Kept(text=old.replace("$", "S"), subtasks=kept(old, old.replace("$", "S")).subtasks)
    planned, note = fill(new, Examples([example]), DESK)

    assert note.startswith("plan cache: ")
    for subtask in planned.subtasks if planned else ():
        values = {"7", "8", "Paris", "Rome", "Ann", "Bob"}
        assert values.intersection(subtask.instruction.split()) <= set(new.split())


@given(st.text(max_size=100), st.text(max_size=100))
def test_any_two_texts_are_bound_or_not_with_a_reason(old: str, new: str) -> None:
    if not old.strip():
        return
    example = Kept.model_construct(text=old, subtasks=kept("x", "x").subtasks, aggregate="auto")

    assert fill(new, Examples([example]), DESK)[1].startswith("plan cache: ")
