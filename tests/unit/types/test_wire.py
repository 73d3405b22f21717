"""The wire form of the values that cross Redis is pinned in tests/fixtures/wire."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from swarm.engine import progress, scheduler
from swarm.types import answer, card, events, request, result
from swarm.types import base as types_base
from swarm.types import plan as types_plan
from swarm.types.base import Input, Value, explain
from swarm.types.events import (
    BaseEvent,
    OutcomeRecorded,
    Tick,
    event_adapter,
)
from swarm.types.request import Envelope
from swarm.types.result import Failure, Solution, Usage
from tests.unit.types.examples import EXAMPLES, FAILURE, USAGE

WIRE = Path(__file__).parents[2] / "fixtures" / "wire"


def kinds(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


# -- the wire form


def pinned(name: str) -> bytes:
    return (WIRE / f"{name}.json").read_bytes()


def test_a_pinned_file_is_read_as_the_value_it_stands_for() -> None:
    assert {name: type(value).model_validate_json(pinned(name)) for name, value in EXAMPLES.items()} == EXAMPLES


@pytest.mark.parametrize("name", [path.stem for path in (WIRE / "read").glob("*.json")])
def test_a_form_that_older_versions_write_is_still_read(name: str) -> None:
    old = pinned(f"read/{name}")

    assert event_adapter.validate_json(old) == EXAMPLES[name]
    assert json.loads(old) != json.loads(pinned(name))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_value_is_written_as_its_pinned_file_says(name: str) -> None:
    assert json.loads(EXAMPLES[name].model_dump_json()) == json.loads(pinned(name))


def test_an_event_is_recognised_by_its_type() -> None:
    wanted = {name: value for name, value in EXAMPLES.items() if name.startswith("event_")}

    assert {name: event_adapter.validate_json(pinned(name)) for name in wanted} == wanted


def test_a_value_survives_a_form_without_its_defaults() -> None:
    short = {name: value.model_dump_json(exclude_defaults=True) for name, value in EXAMPLES.items()}

    assert {name: type(EXAMPLES[name]).model_validate_json(text) for name, text in short.items()} == EXAMPLES


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


def test_a_wire_value_ignores_what_it_does_not_know() -> None:
    wanted = {name: value for name, value in EXAMPLES.items() if isinstance(value, Value)}
    newer = {name: json.loads(value.model_dump_json()) | {"of_a_later_version": 1} for name, value in wanted.items()}

    assert {name: type(wanted[name]).model_validate_json(json.dumps(form)) for name, form in newer.items()} == wanted


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


def test_caveats_that_only_a_newer_process_knows_are_passed_over() -> None:
    solution = Solution.model_validate_json('{"text": "a", "caveats": ["cut", "translated"]}')

    assert solution.caveats == ("cut",)
