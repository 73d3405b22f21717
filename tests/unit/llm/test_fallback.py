"""Models that stand in for one another: who is asked, for how long, and what is said when none answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from swarm.errors import (
    BadOutput,
    CallFacts,
    ContextTooLong,
    ExpertError,
    ModelRefused,
    ModelUnavailable,
    NoRoom,
    Unaffordable,
    Unpriced,
)
from swarm.llm.base import ChatRequest, Completion, Message, Model, ResponseFormat, complete
from swarm.llm.fallback import with_fallbacks
from swarm.llm.openai.usage import prompt_tokens
from swarm.types.result import Usage

HELLO = [Message("user", "hello")]


class Talker:
    """Says a text, or raises; in a stream its words and then what it raises. Notes how long it may take."""

    def __init__(self, name: str, *says: str | Exception) -> None:
        self.name, self._says = name, says
        self.timeouts: list[float] = []

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        self.timeouts.append(request.timeout)
        for said in self._says:
            if isinstance(said, Exception):
                raise said
            yield said
        yield Completion("".join(map(str, self._says)), Usage(calls=1, input_tokens=5, output_tokens=2), self.name)


class Room:
    """The models that are there."""

    def __init__(self, *talkers: Talker) -> None:
        self.talkers = {talker.name: talker for talker in talkers}

    @property
    def chain(self) -> Model:
        return with_fallbacks(self, tuple(self.talkers))

    @property
    def asked(self) -> list[str]:
        return [name for name, talker in self.talkers.items() for _ in talker.timeouts]

    def get(self, name: str) -> Model:
        return self.talkers[name]

    async def aclose(self) -> None:
        return None


def down(seconds: float | None = None, *, broken: bool = False) -> ModelUnavailable:
    call = CallFacts(limited=broken, breaker_open=broken, elsewhere=True)
    return ModelUnavailable("down", retry_after=seconds, call=call)


def used(error: ExpertError, sent: int, received: int) -> ExpertError:
    error.call = replace(error.call, tokens=(sent, received))
    return error


async def streamed(model: Model) -> list[str | Completion]:
    return [item async for item in model.stream(ChatRequest(HELLO))]


def test_a_model_alone_is_itself() -> None:
    room = Room(Talker("a/1", "yes"))

    assert room.chain is room.talkers["a/1"]


async def test_the_first_that_answers_is_the_models_and_the_log_says_who_did_not() -> None:
    room = Room(Talker("a/1", down()), Talker("b/2", ContextTooLong("too long")), Talker("c/3", "yes"), Talker("d/4"))

    with capture_logs() as lines:
        answer = await complete(room.chain, ChatRequest(HELLO))

    assert (answer.text, answer.model, room.asked) == ("yes", "c/3", ["a/1", "b/2", "c/3"])
    assert [(line["event"], line["model"], line["reason"], line["next"]) for line in lines] == [
        ("model_fell_back", "a/1", "unavailable", "b/2"),
        ("model_fell_back", "b/2", "too_long", "c/3"),
    ]


async def test_the_usage_counts_all_calls_as_far_as_they_were_told() -> None:
    room = Room(Talker("a/1", used(BadOutput("no JSON"), 7, 3)), Talker("b/2", down()), Talker("c/3", "yes"))

    sent = 12 + prompt_tokens(HELLO)
    told = Usage(calls=3, input_tokens=sent, output_tokens=5, estimated=1, unknown=2)
    assert (await complete(room.chain, ChatRequest(HELLO))).usage == told
    assert [item.usage for item in await streamed(room.chain) if isinstance(item, Completion)] == [told]


async def test_a_model_that_the_budget_does_not_pay_is_followed_by_a_cheaper_one() -> None:
    room = Room(Talker("a/1", Unaffordable("too dear")), Talker("b/2", Unpriced("no price")), Talker("c/3", "yes"))

    assert ((await complete(room.chain, ChatRequest(HELLO))).model, room.asked) == ("c/3", ["a/1", "b/2", "c/3"])


class Endless(Talker):
    """Forgets the Completion at the end of its stream."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        async for item in super().stream(request):
            if not isinstance(item, Completion):
                yield item


async def test_a_stream_without_a_completion_is_an_error_of_that_model() -> None:
    problem = "a/1: its stream ended without a Completion, which must be the last item"
    room = Room(Endless("a/1"), Brief("b/2", "half an ans"), Endless("c/3"), Talker("d/4", "yes"))

    with pytest.raises(ModelUnavailable, match=problem):
        await complete(room.talkers["a/1"], ChatRequest(HELLO))
    with capture_logs() as lines:
        assert (await complete(room.chain, ChatRequest(HELLO))).text == "yes"
    assert [(line["model"], line["reason"]) for line in lines] == [
        ("a/1", "unavailable"),
        ("b/2", "cut"),
        ("c/3", "unavailable"),
    ]


class Brief(Talker):
    """Says all that it may say, and is not done."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
        async for item in super().stream(request):
            if isinstance(item, Completion):
                yield replace(item, cut=True, usage=item.usage + Usage(estimated=1))
            else:
                yield item


async def test_what_is_cut_at_the_limit_of_one_model_is_asked_of_the_next() -> None:
    room = Room(Brief("a/1", "half an ans"), Talker("b/2", "an answer"))

    found = await complete(room.chain, ChatRequest(HELLO))

    assert (found.text, found.cut, room.asked) == ("an answer", False, ["a/1", "b/2"])
    assert found.usage == Usage(calls=2, input_tokens=10, output_tokens=4, estimated=1)


async def test_words_that_all_models_cut_are_an_answer_that_says_so() -> None:
    found = await complete(Room(Brief("a/1", "half"), Brief("b/2", "half a")).chain, ChatRequest(HELLO))
    kept = await complete(Room(Brief("a/1", "half"), Talker("b/2", ModelUnavailable("down"))).chain, ChatRequest(HELLO))

    assert (found.text, found.cut, found.usage.calls) == ("half a", True, 2)
    assert (kept.text, kept.cut) == ("half", True)


async def test_a_form_that_all_models_cut_is_an_error_that_says_so_and_is_not_tried_again() -> None:
    form = ResponseFormat("answer", {"type": "object"})
    with pytest.raises(BadOutput) as caught:
        await complete(Room(Brief("a/1", "half"), Brief("b/2", "half")).chain, ChatRequest(HELLO, format=form))

    error = caught.value
    assert (error.reason, error.retryable, error.call.tokens, error.call.estimated) == ("cut", False, (10, 4), True)
    assert str(error).startswith("b/2: the answer was cut at the token limit; raise max_tokens")
    assert "also tried: a/1: the answer was cut" in str(error)


async def test_what_another_model_would_refuse_as_well_is_not_asked_elsewhere() -> None:
    room = Room(Talker("a/1", ModelRefused("a bad request")), Talker("b/2", "yes"))

    with pytest.raises(ModelRefused, match=r"^a bad request$"):
        await complete(room.chain, ChatRequest(HELLO))
    assert room.asked == ["a/1"]


@pytest.mark.parametrize("error", [NoRoom("day:1", 5), ZeroDivisionError("a bug")])
async def test_what_is_no_error_of_a_model_passes(error: Exception) -> None:
    room = Room(Talker("a/1", error), Talker("b/2", "yes"))

    with pytest.raises(type(error)):
        await complete(room.chain, ChatRequest(HELLO))


async def test_every_model_but_the_last_has_two_thirds_of_what_is_left() -> None:
    room = Room(Talker("a/1", down()), Talker("b/2", down()), Talker("c/3", "yes"))

    await complete(room.chain, ChatRequest(HELLO, timeout=60.0))
    await streamed(room.chain)

    for talker, seconds in zip(room.talkers.values(), (40, 40, 60), strict=True):
        assert talker.timeouts == pytest.approx([seconds, seconds], abs=0.2), "what failed at once took no time"


async def test_time_that_one_took_is_not_there_for_the_next() -> None:
    class Slow(Talker):
        async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
            await asyncio.sleep(0.2)
            async for item in Talker(self.name, down()).stream(request):
                yield item

    room = Room(Slow("a/1"), Talker("b/2", "yes"))

    await complete(room.chain, ChatRequest(HELLO, timeout=1.0))

    assert 0.5 < room.talkers["b/2"].timeouts[0] <= 0.8


async def test_a_stream_that_gave_a_piece_is_not_repeated_elsewhere() -> None:
    late = Room(Talker("a/1", "hel", down()), Talker("b/2", "yes"))
    early = Room(Talker("a/1", down()), Talker("b/2", "y", "es"))

    with pytest.raises(ModelUnavailable):
        await streamed(late.chain)
    *pieces, whole = await streamed(early.chain)

    assert late.asked == ["a/1"]
    assert pieces == ["y", "es"]
    assert isinstance(whole, Completion)
    assert (whole.text, whole.model) == ("yes", "b/2")


async def test_who_hangs_up_early_closes_the_stream_of_the_model() -> None:
    closed = []

    class Watched(Talker):
        async def stream(self, request: ChatRequest) -> AsyncGenerator[str | Completion]:
            try:
                yield "hel"
                yield "lo"
            finally:
                closed.append(self.name)

    stream = Room(Talker("a/1", down()), Watched("b/2")).chain.stream(ChatRequest(HELLO))
    assert await anext(stream) == "hel"
    await stream.aclose()

    assert closed == ["b/2"]


async def failure(*errors: ExpertError) -> ExpertError:
    room = Room(*(Talker(f"box/{number}", error) for number, error in enumerate(errors, start=1)))
    with pytest.raises(ExpertError) as caught:
        await complete(room.chain, ChatRequest(HELLO))
    return caught.value


async def test_the_error_says_all_that_was_tried_and_why() -> None:
    found = await failure(ContextTooLong("box/1: too long"), down(), BadOutput("box/3: no JSON"))

    assert str(found) == "box/3: no JSON; also tried: box/1: too long (too_long); down (unavailable)"


async def test_where_one_may_answer_later_all_may_be_asked_again_then() -> None:
    gone = ContextTooLong("too long")

    found = await failure(down(9.0, broken=True), down(4.0, broken=True), gone)
    mixed = await failure(down(9.0, broken=True), down())
    never = await failure(ContextTooLong("too long"), ContextTooLong("far too long"))

    assert (found.retryable, found.retry_after) == (True, 4.0)
    assert (found.call.limited, found.call.breaker_open) == (True, True)
    assert (mixed.retryable, mixed.retry_after) == (True, None)
    assert (mixed.call.limited, mixed.call.breaker_open) == (False, False)
    assert (never.retryable, never.reason) == (False, "too_long")


async def test_an_endpoint_that_is_not_set_up_is_told_of_when_its_turn_comes() -> None:
    class Half(Room):
        def get(self, name: str) -> Model:
            if name == "b/2":
                raise ModelRefused("b is not set up")
            return super().get(name)

    room = Half(Talker("a/1", "yes"), Talker("b/2"))
    assert (await complete(room.chain, ChatRequest(HELLO))).text == "yes"

    room.talkers["a/1"] = Talker("a/1", down())
    with pytest.raises(ModelUnavailable, match=r"^down; also tried: b is not set up"):
        await complete(room.chain, ChatRequest(HELLO))
