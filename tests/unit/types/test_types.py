"""The values that cross Redis: their wire form is pinned in tests/fixtures/wire, and bad input is refused clearly.

A change of the wire form is a decision: write the new form into the file by hand, and think of the processes of the
last release that still read the old one.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from swarm.engine import progress, scheduler
from swarm.engine.progress import Graph, Progress, SubtaskState
from swarm.errors import InvalidPlan
from swarm.types import answer, card, events, request, result
from swarm.types import base as types_base
from swarm.types import plan as types_plan
from swarm.types.answer import Answer, JobInfo, Missing, Part, Receipt, Segment
from swarm.types.base import Input, Value, explain
from swarm.types.card import Blob, Card, Catalog, Limits
from swarm.types.events import (
    Accepted,
    Answered,
    BaseEvent,
    CancelAsked,
    Ended,
    OutcomeRecorded,
    Planned,
    Released,
    Reset,
    RoundOpened,
    Started,
    Tick,
    Valued,
    Withdrawn,
    event_adapter,
)
from swarm.types.plan import MAX_SUBTASKS, Condition, Plan, Subtask, find_cycle, referenced
from swarm.types.request import Envelope, Request
from swarm.types.result import Citation, FailedModel, Failure, Mend, Solution, Usage
from swarm.types.sampling import Sampling
from tests.builders import a_plan

WIRE = Path(__file__).parents[2] / "fixtures" / "wire"

USAGE = Usage(
    calls=2,
    input_tokens=310,
    output_tokens=45,
    cost=120,
    presumed=30,
    cached_tokens=200,
    reasoning_tokens=12,
    estimated=1,
    unknown=1,
)
CITATION = Citation(document="policies/returns.md", section="Damaged goods", quote="within 30 days")
FAILURE = Failure(
    reason="unavailable",
    message="429 from the server",
    retryable=True,
    retry_after=1.5,
    limited=True,
    broken=True,
    usage=USAGE,
)
LABEL = Subtask(
    id="t1",
    expert="intent",
    instruction="Label: my parcel is late",
    output={"type": "object", "required": ["label"]},
)
CONDITION = Condition(result="t1.label", one_of=("refund", "return"))
POLICY = Subtask(
    id="t2",
    expert="policy",
    instruction="What holds for ${item.name} and ${t1.label}?",
    depends_on=("t1",),
    when=CONDITION,
    for_each="t1.parcels",
    timeout=30.0,
)
FAILED_MODEL = FailedModel(model="openai/big", reason="unavailable")
PART = Part(
    subtask="t1",
    attempt=1,
    expert="intent",
    how="stopped",
    usage=USAGE,
    unknown=True,
    model="openai/spare",
    failed_models=(FAILED_MODEL,),
)
PLAN = Plan(subtasks=(LABEL, POLICY), aggregate="join")
BLOB = Blob(path="policies/returns.md", sha256="9f86d081", size=2048)
CARD = Card(
    name="policy",
    kind="rag",
    description="Answers what our policy says.",
    examples=("May I send it back?",),
    model="local/extract",
    instruction="You are the policy desk.",
    blobs=(BLOB,),
    output={"type": "object"},
    limits=Limits(concurrency=8, requests_per_minute=300, tokens_per_minute=200_000, burst=5),
    timeout=30.0,
    fallback=("policy-small",),
    fallback_models=("openai/spare",),
    sampling=Sampling(
        max_tokens=400, temperature=0.2, top_p=0.9, stop=("END",), seed=7, reasoning_effort="low", extra={"top_k": 40}
    ),
    uncited="refuse",
    partial="keep",
    implementation="acme.experts:Policy",
    isolate="process",
    version="c0ffee",
)
SEGMENT = Segment(
    text="Within 30 days.",
    subtasks=("t2",),
    expert="policy",
    citations=(CITATION,),
    model="openai/spare",
    confidence=0.5,
    caveats=("unverified",),
    failed_models=(FAILED_MODEL,),
)
MISSING = Missing(subtask="t3", expert="faq", reason="dependency", message="it waited for t1", because="t1")
MEND = Mend(place="t2.expert", what="'polciy' read as policy")
STEP = SubtaskState(
    state="retrying",
    round=1,
    attempt=2,
    turn=1,
    tried=1,
    refused=1,
    items=2,
    empty=True,
    delay=150,
    body="t2.1.1",
    size=40,
    usage=USAGE,
    reason="timeout",
    message="slow",
    because="t1",
)
GRAPH = Graph(subtasks=(LABEL, POLICY), fallbacks={"t2": ("policy-small",)}, aggregate="join", branches=True)

EXAMPLES: dict[str, BaseModel] = {
    "condition": CONDITION,
    "condition_equals": Condition(result="t1", equals=None),
    "condition_not_equals": Condition(result="t1.label", not_equals={"a": [1]}),
    "condition_at_least": Condition(result="t1.total", at_least=100.0),
    "condition_at_most": Condition(result="t1.total", at_most=0.5),
    "mend": MEND,
    "subtask": LABEL,
    "subtask_that_waits": POLICY,
    "plan": PLAN,
    "request": Request(
        text="My parcel is late",
        tenant="acme",
        deadline=30.0,
        max_age=3600.0,
        attempts=2,
        replans=3,
        plan_only=True,
        budget=0.25,
        priority=5,
    ),
    "request_with_expert": Request(text="My parcel is late", expert="intent"),
    "request_with_plan": Request(text="My parcel is late", plan=PLAN),
    "blob": BLOB,
    "limits": CARD.limits,
    "card": CARD,
    "catalog": Catalog(version="beef", cards={"policy": CARD}),
    "usage": USAGE,
    "citation": CITATION,
    "solution": Solution(
        text="Within 30 days.",
        data={"days": 30},
        citations=(CITATION,),
        confidence=0.75,
        model="local/extract",
        usage=USAGE,
        found=False,
        caveats=("not_found", "cut"),
        failed_models=(FAILED_MODEL,),
    ),
    "failed_model": FAILED_MODEL,
    "failure": FAILURE,
    "segment": SEGMENT,
    "missing": MISSING,
    "answer": Answer(
        job="j1",
        ending="partial",
        complete=False,
        text="Within 30 days.",
        data={"days": 30},
        aggregate="join",
        segments=(SEGMENT,),
        missing=(MISSING,),
        usage=USAGE,
        discarded=Usage(calls=1, input_tokens=100, output_tokens=5, cost=20),
        reason="1 of 2 subtasks were solved",
        found=False,
    ),
    "answer_complete": Answer(job="j1", ending="completed", complete=True, text="Within 30 days.", aggregate="pass"),
    "part": PART,
    "receipt": Receipt(
        job="j1",
        ending="cancelled",
        stopped=("t1:1",),
        withdrawn=("t2:1",),
        finished=("t0",),
        cancelled=("t3",),
        parts=(PART,),
        usage=USAGE,
    ),
    "job_info": JobInfo(
        id="j1",
        tenant="acme",
        text="My parcel",
        accepted_at=1_760_000_000_000,
        state="running",
        settled=1,
        subtasks=2,
        cost=120,
        presumed=4000,
        plan_only=True,
    ),
    "envelope": Envelope(
        job="j1",
        subtask=POLICY,
        attempt=2,
        expert="policy-small",
        catalog="beef",
        inputs={"t1": "t1.1.1"},
        groups={"t3": {"t3#1": "t3#1.1.1"}},
        after="timeout",
        item=3,
    ),
    "step": STEP,
    "graph": GRAPH,
    "progress": Progress(
        graph=GRAPH,
        steps={"t1": SubtaskState(state="solved", attempt=1, body="t1.1.1", size=12), "t2": STEP},
        attempts=2,
        window=8,
        due=1_760_000_030_000,
        deadline=True,
        catalog="beef",
        replans=2,
        plan_only=True,
        max_items=10,
        open_round=2,
        planned=True,
        rounds=1,
        again=True,
        replan=2,
        lacking="the price",
        left_out=("'call Anna' (left to policy, whose card does not speak of it)",),
        values={"t1.label": "refund", "t1.parcels[]": 2},
        unknown={"t1.price": "it has label, parcels"},
        cause="deadline",
        why="the deadline passed",
        answer="answer.1",
        answer_failed=True,
        unanswered="it lost its worker 3 times",
        unplanned="big/planner: HTTP 500: oops",
        answers=1,
        ended=True,
        usage=USAGE,
    ),
    "event_accepted": Accepted(
        id="1-1760000000000",
        due=1_760_000_030_000,
        deadline=True,
        attempts=2,
        window=8,
        catalog="beef",
        replans=2,
        plan_only=True,
        max_items=10,
    ),
    "event_round_opened": RoundOpened(id="2-1760000000001", round=1),
    "event_planned": Planned(
        id="3-1760000000002",
        round=1,
        subtasks=(LABEL, POLICY),
        fallbacks={"t2": ("policy-small",)},
        aggregate="join",
        closed=False,
        planner="local/planner",
        notes=("'my parcel' fits intent",),
        why={"t2": "named in the request"},
        left_out=("'call Anna' (left to policy, whose card does not speak of it)",),
        mends=(MEND,),
        usage=USAGE,
        again=True,
    ),
    "event_planned_failed": Planned(id="3-1760000000002", round=1, failure=FAILURE),
    "event_released": Released(id="4-1760000000003", subtask="t2", attempt=2, expert="policy-small", delay=150),
    "event_started": Started(id="5-1760000000004", subtask="t2", attempt=2, claim=3, worker="w1", expert="policy"),
    "event_started_late": Started(
        id="5-1760000000004",
        subtask="t2",
        attempt=2,
        claim=3,
        worker="w1",
        expert="policy",
        waited=1900,
        limited_by="model:openai/gpt-6-luna",
        limited_ms=1500,
    ),
    "event_outcome": OutcomeRecorded(
        id="6-1760000000005",
        subtask="t2",
        attempt=2,
        body="t2.2.3",
        size=40,
        expert="policy",
        usage=USAGE,
        ms=180,
        model="openai/spare",
        failed_models=(FAILED_MODEL,),
    ),
    "event_outcome_failed": OutcomeRecorded(id="7-1760000000006", subtask="t2", attempt=2, failure=FAILURE),
    "event_valued": Valued(
        id="7-1760000000006",
        values={"t1.label": "refund", "t1.parcels[]": 2},
        missing={"t1.price": "it has label, parcels"},
    ),
    "event_withdrawn": Withdrawn(id="7-1760000000006", subtask="t2", attempt=2),
    "event_withdrawn_stopped": Withdrawn(id="7-1760000000006", subtask="t2", attempt=2, stopped=True),
    "event_tick": Tick(id="8-1760000000007"),
    "event_cancel_asked": CancelAsked(id="9-1760000000008"),
    "event_cancel_asked_subtask": CancelAsked(id="9-1760000000008", subtask="t2"),
    "event_answered": Answered(id="10-1760000000009", body="answer.1", usage=USAGE),
    "event_answered_lacking": Answered(id="10-1760000000009", usage=USAGE, lacking="the price"),
    "event_answered_failed": Answered(id="11-1760000000010", failure=FAILURE),
    "event_ended": Ended(
        id="12-1760000000011",
        ending="partial",
        complete=False,
        stopped=("t1:1",),
        withdrawn=("t2:1",),
        settled=120,
        presumed=30,
    ),
    "event_ended_complete": Ended(id="12-1760000000011", ending="completed", complete=True),
    "event_reset": Reset(id="1-1760000000012"),
}


def kinds(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


# -- the wire form


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_pinned_file_is_read_as_the_value_it_stands_for(name: str) -> None:
    value = EXAMPLES[name]

    assert type(value).model_validate_json((WIRE / f"{name}.json").read_bytes()) == value


@pytest.mark.parametrize("name", [path.stem for path in (WIRE / "read").glob("*.json")])
def test_a_form_that_older_versions_write_is_still_read(name: str) -> None:
    old = (WIRE / "read" / f"{name}.json").read_bytes()

    assert event_adapter.validate_json(old) == EXAMPLES[name]
    assert json.loads(old) != json.loads((WIRE / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_value_is_written_as_its_pinned_file_says(name: str) -> None:
    assert json.loads(EXAMPLES[name].model_dump_json()) == json.loads((WIRE / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.startswith("event_")])
def test_an_event_is_recognised_by_its_type(name: str) -> None:
    assert event_adapter.validate_json((WIRE / f"{name}.json").read_bytes()) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_value_survives_a_form_without_its_defaults(name: str) -> None:
    value = EXAMPLES[name]

    assert type(value).model_validate_json(value.model_dump_json(exclude_defaults=True)) == value


def test_every_value_that_crosses_redis_is_pinned() -> None:
    here = {
        module.__name__
        for module in (types_base, types_plan, answer, card, request, result, events, progress, scheduler)
    }
    decided = {scheduler.Release, scheduler.Withdraw, scheduler.AskAnswer, scheduler.AskPlan, scheduler.End}
    crossing = {kind for base in (Value, Input) for kind in kinds(base) if kind.__module__ in here}

    assert crossing - decided - {BaseEvent, Value, Input} == {type(value) for value in EXAMPLES.values()}
    assert {path.stem for path in WIRE.glob("*.json")} == EXAMPLES.keys()


def test_every_field_shows_in_some_pinned_file() -> None:
    shown: dict[type[BaseModel], set[str]] = {}
    for value in EXAMPLES.values():
        shown.setdefault(type(value), set()).update(value.model_dump(exclude_defaults=True))

    for kind, fields in shown.items():
        sent = {name for name, field in kind.model_fields.items() if not field.exclude}
        assert sent - fields <= {"type"}, kind


def test_every_event_has_its_name_in_the_log() -> None:
    assert set(events.EVENTS.values()) == set(kinds(BaseEvent))
    assert all(kind.model_fields["type"].default == name for name, kind in events.EVENTS.items())


def test_an_event_tells_its_place_and_time() -> None:
    event = Tick(id="12-1760000000011")

    assert (event.seq, event.at) == (12, 1_760_000_000_011)


@pytest.mark.parametrize("name", [name for name, value in EXAMPLES.items() if isinstance(value, Value)])
def test_a_wire_value_ignores_what_it_does_not_know(name: str) -> None:
    value = EXAMPLES[name]
    newer = json.loads(value.model_dump_json()) | {"of_a_later_version": 1}

    assert type(value).model_validate_json(json.dumps(newer)) == value


@pytest.mark.parametrize("name", [name for name, value in EXAMPLES.items() if isinstance(value, Input)])
def test_what_somebody_writes_by_hand_may_not_have_unknown_fields(name: str) -> None:
    value = EXAMPLES[name]
    mistyped = json.loads(value.model_dump_json()) | {"dead_line": 1}

    with pytest.raises(ValidationError) as caught:
        type(value).model_validate(mistyped)
    assert explain(caught.value) == "dead_line: unknown field; remove it or correct its name"


@pytest.mark.parametrize("name", EXAMPLES)
def test_values_are_frozen(name: str) -> None:
    value = EXAMPLES[name]

    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, next(iter(type(value).model_fields)), "changed")


def test_usage_sums() -> None:
    twice = {name: 2 * value for name, value in USAGE.model_dump().items()}

    assert (USAGE + USAGE + Usage()).model_dump() == twice


# -- bad requests


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Request.model_validate(fields)
    return explain(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "text: empty; say what is wanted"),
        (" \n\t ", "text: empty; say what is wanted"),
        ("x" * 2_000_000, "text: 2,000,000 bytes, at most 1,000,000 are accepted; shorten or split it"),
        ("é" * 600_000, "text: 1,200,000 bytes, at most 1,000,000 are accepted; shorten or split it"),
        ("a\ud800b", "text: not valid Unicode; send UTF-8 text"),
        (b"\xff\xfe", "text: not valid Unicode; send UTF-8 text"),
        ("a\x00b", "text: control character U+0000 at position 1; remove it"),
        ("\x1b[2J", "text: control character U+001B at position 0; remove it"),
        ("a\x7f", "text: control character U+007F at position 1; remove it"),
    ],
    ids=["empty", "whitespace", "2 MB", "2 bytes each", "surrogate", "not UTF-8", "NUL", "escape", "delete"],
)
def test_a_text_that_cannot_be_used_is_refused_with_the_remedy(text: str | bytes, said: str) -> None:
    assert refusal(text=text) == said


@pytest.mark.parametrize("text", ["Zeile 1\nZeile 2\tSpalte\r\n", "Größe 大 👩‍🚀", "x" * 1_000_000])
def test_ordinary_text_is_accepted_as_it_is(text: str) -> None:
    assert Request(text=text).text == text


@pytest.mark.parametrize(
    "fields",
    [
        {"expert": "No Such"},
        {"tenant": "a b"},
        {"deadline": 0},
        {"deadline": float("nan")},
        {"max_age": -1},
        {"attempts": 0},
        {"plan": {"subtasks": []}},
    ],
    ids=repr,
)
def test_a_refusal_names_the_field(fields: Mapping[str, Any]) -> None:
    assert refusal(text="hello", **fields).startswith(next(iter(fields)))


def test_an_expert_and_a_plan_exclude_each_other() -> None:
    said = refusal(text="hello", expert="x", plan=a_plan("a"))

    assert said == "expert and plan exclude each other; give one of them"


def test_a_missing_field_is_told() -> None:
    assert refusal(txet="hello") == "text: missing; add it; txet: unknown field; remove it or correct its name"


def test_a_refusal_is_short_however_much_is_wrong() -> None:
    said = refusal(text="hello", plan=[{"id": f"no good {number}"} for number in range(900)])

    assert len(said) < 500


def test_a_refusal_does_not_repeat_the_input() -> None:
    assert "hunter2" not in refusal(text="hunter2\x00", attempts="hunter2")


# -- bad plans


def subtask(id: str, *after: str, instruction: str = "do it", **more: object) -> dict[str, object]:
    return {"id": id, "expert": "x", "instruction": instruction, "depends_on": list(after), **more}


def chain(count: int) -> list[dict[str, object]]:
    return [subtask("t0"), *(subtask(f"t{number}", f"t{number - 1}") for number in range(1, count))]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([subtask("a", "b"), subtask("b", "a")], "circular dependency a -> b -> a; remove one of these edges"),
        ([subtask("a", "a")], "circular dependency a -> a; remove one of these edges"),
        (
            [subtask("a", instruction="see ${b}"), subtask("b", "a")],
            "circular dependency a -> b -> a; remove one of these edges",
        ),
        ([subtask("a", "q")], "subtask 'a' depends on 'q', which is no subtask of the plan"),
        ([subtask("a", instruction="see ${q.x}")], "subtask 'a' uses ${q.x}, which is no subtask of the plan"),
        ([subtask("a"), subtask("a")], "subtask id 'a' is used more than once; give each its own"),
        ([subtask(f"t{number}") for number in range(10_000)], "10,000 subtasks, at most 1,000 are accepted"),
        ([], "subtasks: at least 1 must be given; add one"),
        ({"subtask": []}, "subtasks: missing; add it"),
        ([subtask("a", instruction=" ")], "subtasks.0.instruction: empty; say what is wanted"),
        ([subtask("a", instruction="\ud800")], "subtasks.0.instruction: not valid Unicode; send UTF-8 text"),
        ([subtask("a", "\ud800")], "subtasks.0.depends_on.0: not valid Unicode; send UTF-8 text"),
        ([subtask("a", experts="x")], "subtasks.0.experts: unknown field; remove it or correct its name"),
        ([subtask("a b")], "subtasks.0.id: String should match pattern"),
        ([subtask("a", timeout="2s")], "subtasks.0.timeout: '2s' is no number; give seconds, such as 2 or 0.5"),
        ([subtask("a"), 5], "subtasks.1: Input should be a valid dictionary"),
        ("a, then b", "Input should be a valid dictionary"),
        (None, "Input should be a valid dictionary"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_plan_that_cannot_run_is_refused_with_the_place_and_the_remedy(given: object, said: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        Plan.read(given)

    assert str(caught.value).startswith(f"plan: {said}")
    assert str(caught.value).endswith(("; correct the plan and submit it again", "; split the plan"))
    assert caught.value.field == "plan"


def test_a_request_with_too_many_subtasks_is_refused_too() -> None:
    said = refusal(text="hello", plan={"subtasks": [subtask(f"t{number}") for number in range(10_000)]})

    assert said == "plan.subtasks: at most 1,000 are accepted; split it"


def test_a_chain_as_long_as_a_plan_may_be_is_accepted() -> None:
    assert len(Plan.read(chain(MAX_SUBTASKS)).subtasks) == MAX_SUBTASKS


def test_a_long_cycle_is_found_without_recursion_and_told_briefly() -> None:
    looped = chain(MAX_SUBTASKS)
    looped[0] = subtask("t0", "t999")

    with pytest.raises(InvalidPlan, match="circular dependency t0 -> t999") as caught:
        Plan.read(looped)
    assert len(str(caught.value)) < 300


def test_a_plan_may_be_given_as_a_bare_list() -> None:
    assert Plan.read([subtask("a")]) == Plan.read({"subtasks": [subtask("a")]})


# -- edges and references


def test_edges_are_those_declared_and_those_used() -> None:
    plan = Plan.read([subtask("a"), subtask("b"), subtask("c", "b", instruction="compare ${a.price} with ${b}")])

    assert plan.edges == {"a": (), "b": (), "c": ("b", "a")}
    assert plan.united()[2].depends_on == ("b", "a")


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("nothing", ()),
        ("${a}", ("a",)),
        ("${b.x} and ${a}, then ${b.x} again", ("b.x", "a")),
        ("${r1.a.label.name}", ("r1.a.label.name",)),
        ("costs $5, {a}, $a, ${}, ${a b}, ${.a}, $ {a}", ()),
    ],
)
def test_references_are_named_in_order_and_once(instruction: str, expected: tuple[str, ...]) -> None:
    assert Subtask(id="z", expert="x", instruction=instruction).references == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a", ("a", ())),
        ("a.label", ("a", ("label",))),
        ("a.label.name", ("a", ("label", "name"))),
        ("r1.a", ("r1.a", ())),
        ("r1.a.label", ("r1.a", ("label",))),
        ("r1", None),
        ("r1.b", None),
        ("q.label", None),
    ],
)
def test_a_reference_is_split_into_a_subtask_and_a_path(
    reference: str, expected: tuple[str, tuple[str, ...]] | None
) -> None:
    assert referenced(reference, ["a", "r1.a"]) == expected


graphs = st.integers(0, 8).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, max(0, size - 1)), max_size=3, unique=True), min_size=size, max_size=size
    ).map(lambda rows: {str(node): tuple(map(str, row)) for node, row in enumerate(rows)})
)


def reachable(edges: Mapping[str, tuple[str, ...]], start: str) -> set[str]:
    found: set[str] = set()
    todo = set(edges[start])
    while todo:
        found |= todo
        todo = {after for node in todo for after in edges[node]} - found
    return found


@given(graphs)
def test_a_cycle_is_found_exactly_when_some_node_reaches_itself(edges: dict[str, tuple[str, ...]]) -> None:
    cycle = find_cycle(edges)

    assert bool(cycle) == any(node in reachable(edges, node) for node in edges)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(after in edges[node] for node, after in pairwise(cycle))


def test_fields_of_a_newer_process_are_passed_over_at_any_depth() -> None:
    text = (
        (WIRE / "envelope.json")
        .read_text()
        .replace('"id": ', '"newer": 1, "id": ')
        .replace('"job"', '"newest": 2, "job"')
    )

    assert types_base.received(Envelope, text) == EXAMPLES["envelope"]


def test_a_reason_that_only_a_newer_process_knows_is_an_experts_error_with_its_message() -> None:
    text = (WIRE / "event_outcome_failed.json").read_text().replace('"unavailable"', '"struck_by_lightning"')

    found = types_base.received(OutcomeRecorded, text)

    assert found.failure == FAILURE.model_copy(update={"reason": "expert_error"})
    with pytest.raises(ValidationError):
        types_base.received(Failure, '{"reason": 7, "message": "x"}')


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"not": found}
    return found


SHARED: list[Any] = ["x"]
for _ in range(40):
    SHARED = [SHARED, SHARED]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (deep(51), "nested more than 50 levels deep; flatten it"),
        (deep(300), "nested more than 50 levels deep; flatten it"),
        ({"a": object()}, "a Python object; use plain JSON only"),
        ({"a": float("nan")}, "a number that is not finite; use plain JSON only"),
        ({"a": 10**5000}, "a number that is too long; write it as text"),
        ({"a": {1: 2}}, "a key that is no text; use plain JSON only"),
        ({"enum": ["\ud800"]}, "not valid Unicode; send UTF-8 text"),
        ({"\ud800": 1}, "not valid Unicode; send UTF-8 text"),
        ({"enum": SHARED}, "more than 100,000 values; shorten it"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_an_output_that_cannot_travel_is_refused_with_the_remedy(output: object, said: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        Plan.read([subtask("a", output=output)])

    assert str(caught.value) == f"plan: subtasks.0.output: {said}; correct the plan and submit it again"


def test_an_output_as_deep_as_may_be_travels() -> None:
    plan = Plan.read([subtask("a", output=deep(50))])

    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_name_that_no_tenant_has_is_refused_with_what_it_may_be() -> None:
    with pytest.raises(ValidationError, match=r"'a b' is no tenant; use 1 to 64 of A-Z a-z 0-9 \. _ @ -"):
        Request(text="go", tenant="a b")


def test_caveats_that_only_a_newer_process_knows_are_passed_over() -> None:
    solution = Solution.model_validate_json('{"text": "a", "caveats": ["cut", "translated"]}')

    assert solution.caveats == ("cut",)
