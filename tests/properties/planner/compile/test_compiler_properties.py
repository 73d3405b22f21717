"""Whatever a draft says, it becomes a plan that can run or a refusal with reasons, and no step is lost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadDraft
from swarm.planner.compile.compiler import Compiled, CompileRules, compiled
from swarm.planner.parse.draft import Draft, DraftStep
from swarm.types.card import Card
from swarm.types.plan import Plan, Subtask

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}, "all": {"type": "array"}}}
DESK = {
    name: Card(name=name, kind="instruction", description=text, model="local/template", output=output)
    for name, text, output in (
        ("triage", "Tells what a message is about.", SCHEMA),
        ("refund-policy", "Answers what our policy says on refunds.", None),
    )
}

ids = st.sampled_from(("", "a", "b", "c", "1", "2", "Step 3", "r1.t1", "item", "a.b", "ü", "x" * 300))
PLACES = "${a} ${b.label} ${item} ${1} ${r1.t1} ${triage} ${HOME} ${ $1 #E1 {{b}} <node-0> <node-2>.text step_1"
references = st.sampled_from(
    (*PLACES.split(), "<GENERATED>-1", "the output of step 2", "\ufdd00\ufdd1", "\x00", "\ud800")
)
texts = st.lists(st.one_of(references, st.text(max_size=8)), max_size=4).map(" ".join)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
members = st.dictionaries(
    st.sampled_from(("result", "equals", "one_of", "operator", "value", "if", "type", "properties", "items", "target")),
    values,
    max_size=3,
)
steps = st.builds(
    DraftStep,
    expert=st.one_of(
        st.sampled_from(("triage", "Refund Policy", "functions.triage", "nobody", "")), st.text(max_size=9)
    ),
    id=ids,
    instruction=texts,
    arguments=st.dictionaries(st.sampled_from(("0", "text", "target")), values, max_size=2),
    depends_on=st.lists(st.one_of(ids, references, st.text(max_size=4)), max_size=2).map(tuple),
    output=st.one_of(st.none(), st.just(SCHEMA), members),
    when=st.one_of(st.none(), st.just({"result": "a.label", "equals": 1}), members),
    for_each=st.one_of(st.just(""), references),
    place=st.sampled_from(("", "steps.0")),
)
drafts = st.builds(
    Draft,
    steps=st.lists(steps, max_size=6).map(tuple),
    links=st.lists(st.tuples(ids, ids), max_size=3).map(tuple),
    aggregate=st.one_of(st.just(""), st.text(max_size=9)),
)
rules = st.builds(CompileRules, mend_edges=st.booleans(), max_subtasks=st.integers(1, 6), max_depth=st.integers(1, 6))


def outcome(draft: Draft, rules: CompileRules, known: tuple[str, ...]) -> Compiled | BadDraft:
    try:
        return compiled(draft, DESK, rules, known=known)
    except BadDraft as refused:
        return refused


@given(drafts, rules, st.sampled_from(((), ("r1.t1",), ("r1.t1", "a"))))
def test_any_draft_becomes_a_plan_or_a_refusal(draft: Draft, rules: CompileRules, known: tuple[str, ...]) -> None:
    plan = outcome(draft, rules, known)
    if isinstance(plan, BadDraft):
        assert plan.problems
        return

    solved = tuple(Subtask(id=name, expert="triage", instruction="solved") for name in known)
    assert Plan(subtasks=(*solved, *plan.subtasks)).united()[len(solved) :] == plan.subtasks
    assert len(plan.subtasks) == len(draft.steps) == len(plan.why)
    assert {subtask.expert for subtask in plan.subtasks} <= DESK.keys()


sound = st.builds(
    DraftStep,
    expert=st.sampled_from(("triage", "Refund_Policy")),
    id=st.just(""),
    instruction=st.sampled_from(("do it", "use <node-0>", "use <node-3>", "use #E2", "use ${t1}", "use ${none}")),
    depends_on=st.lists(st.sampled_from(("t1", "t2", "t3", "triage", "9", "lost")), max_size=2).map(tuple),
)


@given(st.lists(sound, min_size=1, max_size=6).map(tuple))
def test_with_mending_on_no_edge_keeps_a_plan_from_running(steps: tuple[DraftStep, ...]) -> None:
    plan = compiled(Draft(steps), DESK, CompileRules(mend_edges=True))

    assert len(plan.subtasks) == len(steps)
