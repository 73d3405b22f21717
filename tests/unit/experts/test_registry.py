"""Whatever happens inside an expert, settle gives an outcome."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog

from experts.base import Expert, time_left
from experts.kinds import KINDS, Builder, ExpertKind
from experts.outcome import MAX_SOLUTION, known_failure
from experts.registry import Registry, takes_context
from swarm.errors import BrokerUnavailable, ExpertError, InvalidCard, ModelUnavailable, NoRoom, UnusableInput
from swarm.types.card import Blob, Card
from swarm.types.plan import Subtask
from swarm.types.result import Failure, Outcome, Solution, Usage

Solve = Callable[[Subtask, Mapping[str, Solution]], Awaitable[Any]]
ASKED = Subtask(id="t1", expert="test", instruction="go")


def a_card(**changes: Any) -> Card:
    fields = {"name": "test", "kind": "instruction", "description": "d", "model": "local/python", "version": "1"}
    return Card.model_validate(fields | {"implementation": "test:Test"} | changes)


class Scripted:
    """An expert whose solve is a plain function; it counts how often it was built and closed."""

    built = 0

    def __init__(self, solve: Solve, closed: list[str] | None = None, name: str = "") -> None:
        self.card = a_card()
        self._solve, self._closed, self._name = solve, closed, name

    async def solve(self, subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        found: Solution = await self._solve(subtask, inputs)
        return found

    async def aclose(self) -> None:
        if self._closed is not None:
            self._closed.append(self._name)


async def no_blob(blob: Blob) -> bytes:
    raise AssertionError("no blob is needed here")


async def settled(solve: Solve, subtask: Subtask = ASKED, **changes: Any) -> Outcome:
    async with Registry(no_blob, implementations={"test:Test": lambda: Scripted(solve)}) as registry:
        return await registry.settle(a_card(**changes), subtask, {})


def answering(solution: object) -> Solve:
    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> object:
        return solution

    return solve


def raising(error: BaseException) -> Solve:
    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        raise error

    return solve


async def waits(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
    await asyncio.sleep(60)
    return Solution(text="late")


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


# -- building and closing --------------------------------------------------------------------------------------


def built_by(build: Builder) -> ExpertKind:
    return replace(KINDS["instruction"], build=build)


class Workshop:
    """Makes experts for a registry, by slow builds of the kind `instruction`, and keeps the book."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, solve: Solve | None = None) -> None:
        self.built: list[str] = []
        self.closed: list[str] = []
        self.fail = 0
        self.solve: Solve = solve or answering(Solution(text="ok"))
        monkeypatch.setattr(sys.modules["experts.registry"], "KINDS", {"instruction": built_by(self.build)})

    async def build(self, card: Card, load_blob: object, models: object) -> Expert:
        self.built.append(card.version)
        await asyncio.sleep(0.01)
        if self.fail:
            self.fail -= 1
            raise ModelUnavailable("not yet")
        return Scripted(self.solve, self.closed, card.version)


def versions(*names: str) -> list[Card]:
    return [a_card(implementation=None, version=name) for name in names]


async def test_an_expert_is_built_once_however_many_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, (card,) = Workshop(monkeypatch), versions("1")

    async with Registry(no_blob) as registry:
        outcomes = await asyncio.gather(*(registry.settle(card, ASKED, {}) for _ in range(20)))

    assert outcomes == [Solution(text="ok")] * 20
    assert shop.built == ["1"]


async def test_a_build_outlives_the_one_who_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, (card,) = Workshop(monkeypatch), versions("1")

    async with Registry(no_blob) as registry:
        first = asyncio.create_task(registry.settle(card, ASKED, {}))
        second = asyncio.create_task(registry.settle(card, ASKED, {}))
        await asyncio.sleep(0)
        first.cancel()

        assert await second == Solution(text="ok")
    assert shop.built == ["1"]


async def test_a_build_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, (card,) = Workshop(monkeypatch), versions("1")
    shop.fail = 1

    async with Registry(no_blob) as registry:
        both = await asyncio.gather(registry.settle(card, ASKED, {}), registry.settle(card, ASKED, {}))
        assert [outcome.reason for outcome in both if isinstance(outcome, Failure)] == ["unavailable"] * 2
        assert await registry.settle(card, ASKED, {}) == Solution(text="ok")
    assert shop.built == ["1", "1"]


async def test_experts_are_closed_in_reverse_order_of_building(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(monkeypatch)

    async with Registry(no_blob) as registry:
        for card in versions("1", "2", "3", "1"):
            await registry.settle(card, ASKED, {})

    assert shop.closed == ["3", "2", "1"]


async def test_the_expert_used_least_lately_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(monkeypatch)

    async with Registry(no_blob, size=2) as registry:
        for card in versions("1", "2", "1", "3"):
            await registry.settle(card, ASKED, {})
        await registry.settle(versions("2")[0], ASKED, {})

    assert shop.built == ["1", "2", "3", "2"]
    assert shop.closed[0] == "2"
    assert sorted(shop.closed) == ["1", "2", "2", "3"]


async def test_an_expert_in_use_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def solve(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        if subtask.instruction == "wait":
            await go.wait()
            assert "1" not in shop.closed
        return Solution(text="ok")

    shop = Workshop(monkeypatch, solve)
    async with Registry(no_blob, size=1) as registry:
        first, second = versions("1", "2")
        waiting = asyncio.create_task(registry.settle(first, ASKED.model_copy(update={"instruction": "wait"}), {}))
        await asyncio.sleep(0.03)
        await registry.settle(second, ASKED, {})
        go.set()
        assert await waiting == Solution(text="ok")


async def test_an_error_in_closing_does_not_keep_others_open(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(monkeypatch)

    async def fails() -> None:
        raise RuntimeError("stuck")

    with structlog.testing.capture_logs() as logs:
        async with Registry(no_blob) as registry:
            await registry.settle(versions("1")[0], ASKED, {})
            broken = Scripted(answering(Solution(text="ok")))
            monkeypatch.setattr(broken, "aclose", fails)
            monkeypatch.setattr(shop, "build", None)
            monkeypatch.setattr(sys.modules["experts.registry"], "KINDS", {"instruction": built_by(_giving(broken))})
            await registry.settle(versions("2")[0], ASKED, {})

    assert shop.closed == ["1"]
    assert [log["event"] for log in logs] == ["expert_close_failed"]


def _giving(expert: Expert) -> Callable[..., Awaitable[Expert]]:
    async def build(*arguments: object) -> Expert:
        return expert

    return build


async def test_a_constructor_that_exits_costs_one_subtask_and_not_the_worker() -> None:
    def exits() -> Expert:
        raise SystemExit(3)

    async with Registry(no_blob, implementations={"test:Test": exits}) as registry:
        outcome = await registry.settle(a_card(), ASKED, {})

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("bug", False)
    assert "SystemExit(3)" in outcome.message


@pytest.mark.parametrize("error", [SystemExit(3), None])
async def test_an_expert_that_does_not_close_is_given_up(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    async def never() -> None:
        if error is not None:
            raise error
        await asyncio.sleep(60)

    monkeypatch.setattr("experts.registry.CLOSING", 0.05)
    stuck = Scripted(answering(Solution(text="ok")))
    monkeypatch.setattr(stuck, "aclose", never)
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(40), Registry(no_blob, implementations={"test:Test": lambda: stuck}) as registry:
            await registry.settle(a_card(), ASKED, {})

    assert [log["event"] for log in logs] == ["expert_close_failed"]


@pytest.mark.parametrize("error", [ExpertError("x" * 100_000), KeyError("x" * 100_000), ExpertError("\ud800" * 9_000)])
async def test_a_failure_is_told_briefly(error: Exception) -> None:
    outcome = await settled(raising(error))

    assert isinstance(outcome, Failure)
    assert len(outcome.message) <= 2_000
    assert outcome.model_dump_json()


async def test_redis_away_while_an_expert_is_built_is_tried_again() -> None:
    async def away(blob: Blob) -> bytes:
        raise BrokerUnavailable("redis://x", "refused")

    blob = Blob(path="a.md", sha256="0", size=1)
    async with Registry(away) as registry:
        card = a_card(kind="rag", model="local/extract", implementation=None, blobs=(blob,))
        outcome = await registry.settle(card, ASKED, {})

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == ("unavailable", True)


async def test_data_and_schema_may_not_both_be_large() -> None:
    asked = ASKED.model_copy(update={"output": {"items": {"allOf": [{"type": "string"}] * 1_000}}})

    outcome = await settled(answering(Solution(text="", data=[0] * 100_000)), asked)

    assert isinstance(outcome, Failure)
    assert outcome.reason == "bad_output"
    assert "too large to be checked" in outcome.message


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


# -- the time of one attempt -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("card", "subtask", "holds"), [(0.02, 60.0, 0.02), (60.0, 0.02, 0.02), (0.02, None, 0.02)])
async def test_the_smaller_of_two_timeouts_holds(card: float, subtask: float | None, holds: float) -> None:
    async def waits(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(30)
        raise AssertionError

    outcome = await settled(waits, ASKED.model_copy(update={"timeout": subtask}), timeout=card)

    whose = "its card" if card == holds else "its subtask"
    told = f"no answer within {holds:g} s; raise `timeout` of {whose}"
    assert outcome == Failure(reason="timeout", message=told, retryable=True)


async def test_a_model_call_gets_what_is_left_of_the_attempt() -> None:
    given: list[float] = []

    async def asks_twice(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        given.append(time_left(60.0))
        await asyncio.sleep(0.1)
        given.append(time_left(60.0))
        given.append(time_left(0.01))
        return Solution(text="done")

    await settled(asks_twice, ASKED.model_copy(update={"timeout": 5.0}))

    assert 4.5 < given[1] <= given[0] - 0.09 < 5.0
    assert given[2] == 0.01
    assert time_left(60.0) == 60.0, "outside of an attempt"


async def test_a_model_that_has_no_time_left_is_late_and_not_unavailable() -> None:
    async def gives_up(subtask: Subtask, inputs: Mapping[str, Solution]) -> Solution:
        await asyncio.sleep(max(0.0, time_left(60.0) - 0.005))
        raise ModelUnavailable("no answer within what was left")

    outcome = await settled(gives_up, timeout=0.1)

    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.message) == ("timeout", "no answer within 0.1 s; raise `timeout` of its card")


class Two:
    def solve(self, subtask: object, inputs: object) -> None: ...


class Three:
    def solve(self, subtask: object, inputs: object, more: object) -> None: ...


class Named:
    def solve(self, subtask: object, inputs: object, context: object = None) -> None: ...


class Other:
    def solve(self, subtask: object, inputs: object, client: object = None) -> None: ...


class Wrapped:
    def solve(self, *args: object, **named: object) -> None: ...


@pytest.mark.parametrize(
    ("kind", "takes"), [(Two, False), (Three, True), (Named, True), (Other, False), (Wrapped, False)]
)
def test_a_context_is_given_to_who_takes_one(kind: type[Any], takes: bool) -> None:
    assert takes_context(kind().solve) == takes
