from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from swarm.answer.aggregate import MOST_BEHIND, aggregate, wanted
from swarm.types.answer import Answer, Ending, Missing
from swarm.types.plan import Aggregate, Subtask
from swarm.types.result import Citation, FailedModel, Solution, Usage


def graph(*drawn: str) -> list[Subtask]:
    """`graph("a", "b<-a")`: every subtask goes to the expert `x-<id>`."""
    split = [line.partition("<-") for line in drawn]
    return [
        Subtask(id=i, expert=f"x-{i}", instruction="do", depends_on=tuple(on.split(",")) if on else ())
        for i, _, on in split
    ]


def answer(
    subtasks: Sequence[Subtask],
    solved: Mapping[str, Solution] | Sequence[str],
    how: Aggregate = "auto",
    ending: Ending = "completed",
) -> Answer:
    """The answer, reading only what `wanted` asks for, as the router does."""
    bodies = solved if isinstance(solved, Mapping) else {i: Solution(text=f"text of {i}") for i in solved}
    read = {i: bodies[i] for i in wanted(subtasks, how, set(bodies), ending)}
    missing = [Missing(subtask=s.id, expert=s.expert, reason="timeout") for s in subtasks if s.id not in bodies]
    return aggregate("j", subtasks, how, read, missing, ending, Usage(calls=3), "because")


def labelled(*labels: Any) -> dict[str, Solution]:
    return {f"s{n}": Solution(text="t", data={"label": label}) for n, label in enumerate(labels)}


def test_the_result_of_a_single_sink_is_the_answer() -> None:
    made = answer(graph("a", "b<-a"), {"a": Solution(text="A"), "b": Solution(text="B", data=[1])})

    assert (made.text, made.data, made.aggregate, made.complete) == ("B", [1], "pass", True)
    assert [(s.subtasks, s.expert) for s in made.segments] == [(("b", "a"), "x-b")]
    assert (made.usage.calls, made.reason) == (3, "because")


def test_several_sinks_are_joined_in_plan_order_under_headings() -> None:
    made = answer(graph("b", "a"), ["a", "b"])

    assert made.text == "## x-b (b)\n\ntext of b\n\n## x-a (a)\n\ntext of a"
    assert (made.aggregate, made.data) == ("join", None)


def test_a_join_keeps_data_by_subtask() -> None:
    made = answer(graph("a", "b"), {"a": Solution(text="A", data=1), "b": Solution(text="B")})

    assert made.data == {"a": 1}


def test_a_join_of_one_section_has_no_heading() -> None:
    assert answer(graph("a"), ["a"], "join").text == "text of a"


def test_a_plan_that_asks_to_pass_several_sinks_is_joined() -> None:
    assert answer(graph("a", "b"), ["a", "b"], "pass").aggregate == "join"


def test_the_nearest_solved_stand_in_for_a_missing_sink() -> None:
    plan = graph("a", "b<-a", "c<-a", "d<-b,c", "e")
    made = answer(plan, ["a", "b", "e"], ending="partial")

    assert [s.subtasks[0] for s in made.segments] == ["a", "b", "e"]
    assert made.aggregate == "join"
    assert not made.complete
    assert [m.subtask for m in made.missing] == ["c", "d"]


def test_a_pass_whose_sink_is_missing_joins_what_is_there() -> None:
    made = answer(graph("a", "b<-a", "c<-b"), ["a", "b"], "pass", "deadline")

    assert (made.text, made.aggregate) == ("text of b", "join")


@pytest.mark.parametrize("ending", ["cancelled", "over_budget", "deadline", "rejected", "failed", "partial"])
def test_an_answer_without_results_says_so_and_is_not_complete(ending: Ending) -> None:
    made = answer(graph("a"), [], ending=ending)

    assert made.text.startswith("There is no result")
    assert (made.aggregate, made.segments, made.complete) == ("", (), False)


def test_what_a_section_built_on_is_cited() -> None:
    cited = Citation(document="policy.md", quote="within 30 days")
    bodies = {"a": Solution(text="A", citations=(cited,)), "b": Solution(text="B", citations=(cited,))}

    assert answer(graph("a", "b<-a"), bodies).segments[0].citations == (cited,)
    assert wanted(graph("a", "b<-a"), "auto", {"a", "b"}, "completed") == ("a", "b")


def test_a_wide_fan_in_does_not_read_every_body() -> None:
    plan = graph(*(f"n{i}" for i in range(100)), f"sink<-{','.join(f'n{i}' for i in range(100))}")

    assert len(wanted(plan, "auto", {s.id for s in plan}, "completed")) == 33


def test_many_sinks_behind_one_cited_result_cite_it_once() -> None:
    cited = tuple(Citation(document=f"d{i}.md", quote="q" * 1_000) for i in range(50))
    sinks = [f"s{i}" for i in range(200)]
    bodies = {"a": Solution(text="A", citations=cited)} | {s: Solution(text=f"{s} says so") for s in sinks}

    made = answer(graph("a", *(f"{s}<-a" for s in sinks)), bodies)

    assert [c for segment in made.segments for c in segment.citations] == list(cited)
    assert [segment.subtasks for segment in made.segments] == [(s, "a") for s in sinks]
    results = sum(len(body.model_dump_json(exclude_defaults=True)) for body in bodies.values())
    assert len(made.model_dump_json(exclude_defaults=True)) < 3 * results


def test_a_section_names_no_more_than_the_nearest_it_built_on() -> None:
    chain = graph("n0", *(f"n{i}<-n{i - 1}" for i in range(1, 100)))
    made = answer(chain, {s.id: Solution(text=s.id, citations=(Citation(document=s.id, quote="q"),)) for s in chain})

    nearest = tuple(f"n{i}" for i in range(99, 98 - MOST_BEHIND, -1))
    assert made.segments[0].subtasks == nearest
    assert tuple(c.document for c in made.segments[0].citations) == nearest


def test_a_rejected_job_needs_no_bodies() -> None:
    assert wanted(graph("a"), "auto", {"a"}, "rejected") == ()


def test_a_vote_counts_labels_and_the_commonest_wins() -> None:
    made = answer(graph("s0", "s1", "s2"), labelled("x", "y", "y"), "vote")

    assert made.data == {"label": "y", "counts": {"x": 1, "y": 2}, "tied": []}
    assert (made.text, made.aggregate, len(made.segments)) == ("y", "vote", 3)


def test_a_tie_goes_to_the_first_in_plan_order_and_is_flagged() -> None:
    made = answer(graph("s0", "s1"), labelled("y", "x"), "vote")

    assert made.data == {"label": "y", "counts": {"y": 1, "x": 1}, "tied": ["y", "x"]}


def test_texts_vote_without_regard_to_case_space_and_marks() -> None:
    bodies = {"a": Solution(text=" Refund. "), "b": Solution(text="refund"), "c": Solution(text="other")}

    assert answer(graph("a", "b", "c"), bodies, "vote").text == "refund"


def test_a_vote_without_a_voter_joins_what_is_there() -> None:
    assert answer(graph("a", "b<-a", "c<-a"), ["a"], "vote", "deadline").aggregate == "join"


def test_a_segment_names_the_model_that_answered_and_what_limits_its_result() -> None:
    failed = FailedModel(model="openai/big", reason="unavailable")
    solution = Solution(text="A", model="openai/spare", confidence=0.4, caveats=("cut",), failed_models=(failed,))

    (segment,) = answer(graph("a"), {"a": solution}).segments

    assert (segment.model, segment.confidence) == ("openai/spare", 0.4)
    assert (segment.caveats, segment.failed_models) == (("cut",), (failed,))


@pytest.mark.parametrize(("first", "second", "found"), [(True, False, True), (False, False, False)])
def test_an_answer_is_found_when_one_of_the_results_it_shows_is(first: bool, second: bool, found: bool) -> None:
    results = {"a": Solution(text="A", found=first), "b": Solution(text="B", found=second)}

    assert answer(graph("a", "b"), results).found is found
