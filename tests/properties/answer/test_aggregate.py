from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from swarm.answer.aggregate import aggregate, wanted
from swarm.types.answer import Answer, Ending
from swarm.types.plan import Aggregate, Subtask
from swarm.types.result import Citation, Solution, Usage
from tests.unit.answer.test_aggregate import answer, graph


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[Subtask], set[str]]:
    """A random graph and a set of solved subtasks, closed under what they wait for."""
    count = draw(st.integers(1, 10))
    drawn, solved = [], set()
    for n in range(count):
        before = sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else []
        drawn.append(f"n{n}<-{','.join(f'n{i}' for i in before)}" if before else f"n{n}")
        if all(f"n{i}" in solved for i in before) and draw(st.booleans()):
            solved.add(f"n{n}")
    return graph(*drawn), solved


ways = st.sampled_from(["auto", "pass", "join", "vote"])


@given(jobs(), ways, st.sampled_from(["cancelled", "deadline", "partial", "completed"]))
def test_every_solved_sink_is_in_the_answer_whatever_the_ending(
    job: tuple[list[Subtask], set[str]], how: Aggregate, ending: Ending
) -> None:
    plan, solved = job
    made = answer(plan, sorted(solved), how, ending)
    waited_for = {i for s in plan for i in s.depends_on}

    shown = {s.subtasks[0] for s in made.segments}
    assert {s.id for s in plan if s.id not in waited_for and s.id in solved} <= shown <= solved
    assert bool(made.segments) == bool(solved)
    assert made.complete == (ending == "completed" and len(solved) == len(plan))
    if made.aggregate == "join":
        assert all(s.text in made.text for s in made.segments)
    if made.aggregate == "vote":
        assert sum(made.data["counts"].values()) == len(made.segments)


@given(jobs(), ways)
def test_an_answer_needs_only_the_bodies_it_wants(job: tuple[list[Subtask], set[str]], how: Aggregate) -> None:
    plan, solved = job
    bodies = {i: Solution(text=i, citations=(Citation(document=i, quote=i),)) for i in solved}
    read = {i: bodies[i] for i in wanted(plan, how, solved, "partial")}

    def made(results: Mapping[str, Solution]) -> Answer:
        return aggregate("j", plan, how, results, (), "partial", Usage())

    assert made(read) == made(bodies)
