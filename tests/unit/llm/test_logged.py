"""Every model call is told in one line, however it ends, and without a word of it unless that is asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from structlog.testing import capture_logs

from swarm.errors import CallFacts, ModelUnavailable, NoRoom, Unaffordable, WrongKey
from swarm.llm.bad_output import cut_output
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat, complete
from swarm.llm.logged import LoggedModels
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModels, Reservation
from swarm.logging import CALLED
from swarm.testing.scripted_model import Script, ScriptedModels
from swarm.types.result import Usage

ASKED = [Message("user", "where is my parcel?")]
USED = {"calls": 1, "input_tokens": 4, "output_tokens": 3}


class Purse:
    """An account that keeps each call waiting for a while, and holds 100 micro-dollars for it."""

    def __init__(self, wait: float = 0.03, error: Exception | None = None) -> None:
        self.wait, self.error = wait, error

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        await asyncio.sleep(self.wait)
        if self.error is not None:
            raise self.error
        return Reservation(1, model, amount=100)

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        return Usage(presumed=held.amount) if used.billed == "unknown" else Usage(cost=12)


@pytest.fixture
def paid() -> Iterator[Purse]:
    token = ACCOUNT.set(purse := Purse())
    yield purse
    ACCOUNT.reset(token)


@contextlib.contextmanager
def told() -> Iterator[dict[str, Any]]:
    """The one line that is written inside."""
    line: dict[str, Any] = {}
    with capture_logs() as lines:
        yield line
    (found,) = lines
    assert found.pop("event") == CALLED
    assert found.pop("log_level") == "info"
    assert found.pop("part") == "models"
    line |= found


def raising(error: Exception) -> Script:
    def script(messages: Sequence[Message]) -> str:
        raise error

    return script


async def asked(script: Script, *, contents: bool = False, timeout: float = 5.0, **more: Any) -> Completion:
    models = LoggedModels(MeteredModels(ScriptedModels(script)), contents=contents)
    async with asyncio.timeout(timeout):
        return await complete(models.get("box/small"), ChatRequest(ASKED, **more))


async def slowly(messages: Sequence[Message]) -> AsyncIterator[str]:
    for piece in ("it ", "is ", "there"):
        await asyncio.sleep(0.02)
        yield piece


async def test_a_call_is_told_with_what_it_used_and_where_its_time_went(paid: Purse) -> None:
    with told() as line:
        completion = await asked(slowly, format=ResponseFormat("f", {}))

    assert line.pop("ms") >= 85
    assert line.pop("rate_wait_ms") >= 29
    assert line.pop("first_ms") > 0
    assert completion.usage.cost == 12
    assert line == {
        "endpoint": "box", "model": "box/small", "outcome": "ok", "way": "json_schema", "cost": 12, **USED,
    }  # fmt: skip


async def test_the_time_to_the_first_piece_of_a_stream_begins_when_there_is_room_for_the_call(paid: Purse) -> None:
    model = LoggedModels(MeteredModels(ScriptedModels(slowly))).get("box/small")
    with told() as line:
        async with aclosing(model.stream(ChatRequest(ASKED))) as items:
            assert [item async for item in items][:-1] == ["it ", "is ", "there"]

    assert 19 <= line["first_ms"] < line["ms"] - line["rate_wait_ms"] - 30


async def test_what_the_completion_says_of_its_beginning_and_its_form_is_told() -> None:
    whole = Completion("yes", cut=True, asked_by="tool", dropped=("a: pattern",), first=0.25)
    with told() as line:
        await asked(lambda _: whole)

    assert line["first_ms"] == 250
    assert (line["outcome"], line["way"], line["dropped"]) == ("cut", "tool", ("a: pattern",))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (
            ModelUnavailable("box/small: HTTP 503: where is my parcel?", log_message="box/small: HTTP 503"),
            "unavailable",
        ),
        (WrongKey("box/small: HTTP 401: where is my parcel?", log_message="box/small: HTTP 401"), "wrong_key"),
        (cut_output("box/small"), "cut"),
        (NoRoom("day", 100), "parked"),
        (ZeroDivisionError("where is my parcel?"), "failed"),
    ],
)
async def test_a_call_that_fails_is_told_with_its_reason(error: Exception, outcome: str) -> None:
    with told() as line, pytest.raises(type(error)):
        await asked(raising(error))

    assert line["outcome"] == outcome
    assert "parcel" not in str(line)


async def test_what_a_failed_call_may_have_cost_and_what_its_server_counted_is_told(paid: Purse) -> None:
    error = ModelUnavailable("box/small: the answer broke off", call=CallFacts(tokens=(7, 2)))
    with told() as line, pytest.raises(ModelUnavailable):
        await asked(raising(error))

    assert (line["outcome"], line["error"]) == ("unavailable", "box/small: the answer broke off")
    assert (line["calls"], line["input_tokens"], line["output_tokens"], line["presumed"]) == (1, 7, 2, 100)


async def test_a_call_that_found_no_room_waited_and_cost_nothing(paid: Purse) -> None:
    paid.error = Unaffordable("too dear")
    with told() as line, pytest.raises(Unaffordable):
        await asked(lambda _: "never asked")

    assert line.keys() == {"endpoint", "model", "ms", "rate_wait_ms", "outcome", "error"}
    assert line["outcome"] == "over_budget"
    assert line["rate_wait_ms"] >= 29


async def test_a_call_that_is_cancelled_is_told_with_what_is_held_for_it(paid: Purse) -> None:
    async def never(messages: Sequence[Message]) -> str:
        await asyncio.Event().wait()
        return ""

    with told() as line, pytest.raises(TimeoutError):
        await asked(never, timeout=0.1)

    assert (line["outcome"], line["presumed"], line["calls"], line["unknown"]) == ("cancelled", 100, 1, 1)


async def test_a_stream_that_is_hung_up_on_is_told_as_closed() -> None:
    model = LoggedModels(ScriptedModels(slowly)).get("box/small")
    with told() as line:
        async with aclosing(model.stream(ChatRequest(ASKED))) as items:
            assert await anext(items) == "it "

    assert line["outcome"] == "closed"
    assert line["first_ms"] >= 19


async def test_who_leaves_a_stream_after_its_last_item_has_had_all_of_it() -> None:
    model = LoggedModels(ScriptedModels(slowly)).get("box/small")
    with told() as line:
        async with aclosing(model.stream(ChatRequest(ASKED))) as items:
            async for item in items:
                if isinstance(item, Completion):
                    break

    assert (line["outcome"], line["calls"]) == ("ok", 1)


async def test_contents_are_told_only_where_they_are_asked_for() -> None:
    with told() as line:
        await asked(lambda _: "it is there")
    with told() as asked_for:
        await asked(lambda _: "it is there", contents=True)
    with told() as long:
        await asked(lambda _: "word " * 10_000, contents=True)

    assert "parcel" not in str(line)
    assert "there" not in str(line)
    assert (asked_for["prompt"], asked_for["answer"]) == ("user: where is my parcel?", "it is there")
    assert len(long["answer"]) < 5_000


async def test_with_contents_a_failure_is_told_in_the_words_of_its_server() -> None:
    failed = ModelUnavailable("box/small: HTTP 500: my words", log_message="box/small: HTTP 500")
    with told() as line, pytest.raises(ModelUnavailable):
        await asked(raising(failed), contents=True)

    assert line["error"] == "box/small: HTTP 500: my words"
    assert "answer" not in line
