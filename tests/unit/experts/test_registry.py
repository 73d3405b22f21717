"""Whatever happens inside an expert, settle gives an outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
import structlog

from experts.outcome import MAX_SOLUTION, known_failure
from experts.registry import Registry
from swarm.errors import ExpertError, InvalidCard, ModelUnavailable, NoRoom, UnusableInput
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Solution, Usage
from tests.unit.experts.settling import ASKED, Scripted, Solve, a_card, answering, no_blob, settled, waits


def raising(error: BaseException) -> Solve:
    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        raise error

    return solve


async def test_a_solution_passes() -> None:
    assert await settled(answering(Solution(text="yes"))) == Solution(text="yes")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            ModelUnavailable("away", retry_after=3),
            Failure(reason="unavailable", message="away", retryable=True, retry_after=3),
        ),
        (ExpertError("cannot"), Failure(reason="expert_error", message="cannot")),
        (ExpertError("busy", retryable=True), Failure(reason="expert_error", message="busy", retryable=True)),
        (UnusableInput("no field"), Failure(reason="bad_input", message="no field")),
        (InvalidCard("a.md", "broken", "mend it"), Failure(reason="bad_input", message="a.md: broken; mend it")),
        (ExceptionGroup("g", [ExpertError("a"), ExpertError("b")]), Failure(reason="expert_error", message="a")),
    ],
)  # fmt: skip
async def test_known_errors_keep_their_reason(error: Exception, failure: Failure) -> None:
    assert await settled(raising(error)) == failure


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("x/0"), AssertionError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError(),
     ExceptionGroup("g", [ExpertError("a"), KeyError("b")]), asyncio.CancelledError("its own")],
)  # fmt: skip
async def test_a_bug_costs_one_subtask_and_leaves_its_traceback(error: BaseException) -> None:
    with structlog.testing.capture_logs() as logs:
        outcome = await settled(raising(error))

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("bug", False)
    assert type(error).__name__ in outcome.message
    assert [(log["event"], log["expert"], log["exc_info"]) for log in logs] == [("expert_bug", "test", error)]


async def test_an_expert_that_is_too_slow_is_stopped() -> None:
    outcome = await settled(waits, timeout=0.02)

    told = "no answer within 0.02 s; raise `timeout` of its card"
    assert outcome == Failure(reason="timeout", message=told, retryable=True)


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_call_that_has_to_wait_for_room_in_a_budget_is_no_outcome(wrapped: bool) -> None:
    full = NoRoom("job:j1", 7)
    error = ExceptionGroup("several", [ValueError("a bug"), ExceptionGroup("more", [full])]) if wrapped else full

    with structlog.testing.capture_logs() as lines, pytest.raises(NoRoom) as raised:
        await settled(raising(error))

    assert raised.value is full
    assert lines == []


async def test_cancellation_passes() -> None:
    task = asyncio.create_task(settled(waits))
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        (None, "bug"),
        ("text", "bug"),
        (Solution(text="x" * MAX_SOLUTION), "too_large"),
        (Solution(text="", data=object()), "bad_output"),
    ],
)
async def test_a_solution_that_may_not_travel_is_a_failure(solution: object, reason: str) -> None:
    outcome = await settled(answering(solution))

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == (reason, False)


SCHEMA = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["a", "b"]}}}


async def test_data_must_fit_the_schema_of_the_subtask_before_that_of_the_card() -> None:
    good = Solution(text="", data={"label": "a"}, usage=Usage(calls=1))
    asked = ASKED.model_copy(update={"output": {"type": "array"}})

    assert await settled(answering(good), output=SCHEMA) == good
    outcome = await settled(answering(good), asked, output=SCHEMA)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "bad_output"
    assert "is not of type 'array'" in outcome.message
    assert outcome.usage == Usage(calls=1)


@pytest.mark.parametrize(("model", "again"), [("openai/x", True), ("local/template", False)])
async def test_only_a_model_may_do_better_next_time(model: str, again: bool) -> None:
    outcome = await settled(answering(Solution(text="", data={"label": "c"})), output=SCHEMA, model=model)

    assert isinstance(outcome, Failure)
    assert "label: 'c' is not one of" in outcome.message
    assert outcome.retryable is again


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "#"},
        {"pattern": "(a+)+$"},
        {"allOf": [{"patternProperties": {}}]},
        {"uniqueItems": True},
        {"unevaluatedProperties": False},
    ],
)
async def test_a_schema_that_comes_with_a_subtask_is_checked_before_the_expert_is_asked(schema: dict[str, Any]) -> None:
    outcome = await settled(raising(AssertionError("asked")), ASKED.model_copy(update={"output": schema}))

    assert isinstance(outcome, Failure)
    assert outcome.reason == "bad_input"


async def test_a_schema_of_a_card_is_never_fetched() -> None:
    outcome = await settled(answering(Solution(text="", data={})), output={"$ref": "http://127.0.0.1:9/x"})

    assert isinstance(outcome, Failure)
    assert "cannot be followed" in outcome.message


async def test_an_expert_in_plain_python_reads_values_in_place() -> None:
    seen: list[tuple[Subtask, Mapping[str, Solution]]] = []

    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        seen.append((subtask, inputs))
        return Solution(text="ok")

    asked = ASKED.model_copy(update={"instruction": "${item} of ${t0.label}, ${t9}", "depends_on": ("t0",)})
    inputs = {"t0": Solution(text="x", data={"label": "${t0}"}), "item": Solution(text="one", data="one")}
    async with Registry(no_blob, implementations={"test:Test": lambda: Scripted(solve)}) as registry:
        await registry.settle(a_card(), asked, inputs)

    assert seen == [(asked.model_copy(update={"instruction": "one of ${t0}, ${t9}"}), inputs)]


@pytest.mark.parametrize(
    ("instruction", "said"),
    [("${t0.lable}", "the result of t0 has no field 'lable': it has label"), ("${t0}" * 30, "more than")],
)
async def test_an_instruction_that_cannot_be_put_together_is_bad_input(instruction: str, said: str) -> None:
    inputs = {"t0": Solution(text="x" * 100_000, data={"label": "a"})}
    async with Registry(no_blob, implementations={"test:Test": lambda: Scripted(waits)}) as registry:
        outcome = await registry.settle(a_card(), ASKED.model_copy(update={"instruction": instruction}), inputs)

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("bad_input", False)
    assert said in outcome.message


async def test_what_is_not_installed_is_said() -> None:
    async with Registry(no_blob) as registry:
        outcome = await registry.settle(a_card(implementation="gone:Gone"), ASKED, {})
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("missing_dependency", False)

    outcome = await settled(raising(ModuleNotFoundError("No module named 'x'", name="x")))
    assert isinstance(outcome, Failure)
    assert outcome.reason == "missing_dependency"


@pytest.mark.parametrize("error", [ExpertError("x" * 100_000), KeyError("x" * 100_000), ExpertError("\ud800" * 9_000)])
async def test_a_failure_is_told_briefly(error: Exception) -> None:
    outcome = await settled(raising(error))

    assert isinstance(outcome, Failure)
    assert len(outcome.message) <= 2_000
    assert outcome.model_dump_json()


async def test_a_check_runs_beside_the_loop_and_within_the_time_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experts.outcome.misfit", lambda data, text, schema: time.sleep(0.5))

    outcome = await settled(answering(Solution(text="", data={})), output=SCHEMA, timeout=0.05)

    assert isinstance(outcome, Failure)
    assert outcome.reason == "timeout"


async def test_data_nested_too_deeply_does_not_travel() -> None:
    data: list[Any] = []
    for _ in range(50):
        data = [data]

    outcome = await settled(answering(Solution(text="", data=data)))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, "more than 50 levels" in outcome.message) == ("bad_output", True)
    assert isinstance(await settled(answering(Solution(text="", data=data[0]))), Solution)


def test_a_reason_that_somebody_made_up_still_gives_a_failure() -> None:
    class OutOfStock(ExpertError):
        reason = "out_of_stock"

    failure = known_failure(OutOfStock("none left"))

    assert failure is not None
    assert (failure.reason, failure.message) == ("expert_error", "none left")
