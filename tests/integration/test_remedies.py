"""The remedy that an error names works in the case in which it is told: each is provoked at a server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from experts.base import Allowance, until
from experts.catalog.loader import catalog_of
from experts.limited_completion import written
from swarm.errors import BadOutput, ExpertError, ModelUnavailable
from swarm.llm.base import ChatRequest, Completion, Message, ResponseFormat, complete
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModels, Reservation
from swarm.llm.openai.models import OpenAIModels
from swarm.planner.model.planner import ModelPlanner
from swarm.planner.planner import Planner
from swarm.settings import LOCAL, Settings
from swarm.testing.model_server import DONE, ModelServer, Received, Reply, Script, Stream, chunk, completion
from swarm.testing.openai_payloads import response, response_events
from swarm.types.card import Card
from swarm.types.request import Request
from swarm.types.result import Usage
from swarm.types.sampling import Cap, Sampling

ASKED = [Message("user", "Count to forty.")]
FORM = ResponseFormat("answer", {"type": "object"})
WORDS = '{"said": "' + " ".join(map(str, range(38))) + '"}'


def counts(own: int = 1_000) -> Callable[[Received], Reply]:
    """A server that says forty words, each a token, but no more than it is asked for and than it writes at all."""

    def answer(request: Received) -> Reply:
        said = WORDS.split()[: min(request.body.get("max_tokens", own), own)]
        usage = {"prompt_tokens": 4, "completion_tokens": len(said)}
        cut = "length" if len(said) < len(WORDS.split()) else "stop"
        return Reply(completion(" ".join(said), finish_reason=cut, usage=usage))

    return answer


@asynccontextmanager
async def served(tmp_path: Path, script: Script, sampling: str = "") -> AsyncIterator[OpenAIModels]:
    async with ModelServer(script) as server:
        path = tmp_path / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "{server.url}"\n{sampling}\n')
        async with OpenAIModels({"SWARM_CONFIG": str(path)}) as models:
            yield models


# -- an answer that was cut names the limit at which it was ---------------------------------------------------------


async def cut(
    tmp_path: Path,
    *,
    card: int | None = None,
    endpoint: int | None = None,
    own: int = 1_000,
    **settings: int,
) -> str:
    """What is said of an answer that was cut, by an expert with these limits; empty if it was whole."""
    set_up = f"sampling = {{ max_tokens = {endpoint} }}" if endpoint else ""
    asks = Card(
        name="writer", kind="instruction", description="Writes.", model="box/small", sampling=Sampling(max_tokens=card)
    )
    limits = Allowance.of(Settings.model_validate({"answer_tokens": 0, "schema_tokens": 0, **settings}), 1, "")
    async with served(tmp_path, counts(own), set_up) as models:
        try:
            with until(None, limits):
                await written(models.get("box/small"), ASKED, asks, FORM)
        except BadOutput as error:
            return f"{error.reason}: {error}"
    return ""


@pytest.mark.parametrize(
    ("limits", "said", "raised"),
    [
        ({"card": 5, "schema_tokens": 50}, "; raise max_tokens in its card", {"card": 50}),
        ({"endpoint": 5}, "; raise max_tokens in [endpoints.box.sampling] of swarm.toml", {"endpoint": 50}),
        ({"card": 5, "endpoint": 50}, "; raise max_tokens in its card", {"card": 50}),
        ({"schema_tokens": 5}, "; raise SWARM_SCHEMA_TOKENS", {"schema_tokens": 50}),
        ({"schema_tokens": 50, "max_output": 5}, "; raise SWARM_MAX_OUTPUT", {"max_output": 50}),
        (
            {"schema_tokens": 5, "max_output": 5},
            "; raise SWARM_SCHEMA_TOKENS and SWARM_MAX_OUTPUT",
            {"schema_tokens": 50, "max_output": 50},
        ),
        (
            {"own": 5},
            "set max_tokens in its card or in [endpoints.box.sampling] of swarm.toml, or raise it there",
            {"own": 50},
        ),
        ({"own": 5, "card": 100}, "stopped at a limit of its own, not at the 100 tokens", {"own": 50}),
    ],
)  # fmt: skip
async def test_an_answer_that_was_cut_names_a_setting_that_works(
    tmp_path: Path, limits: dict[str, int], said: str, raised: dict[str, int]
) -> None:
    told = await cut(tmp_path, **limits)

    assert told.startswith("cut: box/small: the answer was cut at the token limit; ")
    assert said in told
    assert not await cut(tmp_path, **limits | raised), "what it names to raise is what makes the answer whole"


class Purse:
    """An account that caps what nobody else does."""

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        return Reservation(1, model, cap=wanted or Cap(5, "SWARM_MAX_OUTPUT"))

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        return Usage()


async def test_a_cap_of_a_budget_is_named_as_such(tmp_path: Path) -> None:
    token = ACCOUNT.set(Purse())
    try:
        async with served(tmp_path, counts()) as models:
            answer = await complete(MeteredModels(models).get("box/small"), ChatRequest(ASKED))
    finally:
        ACCOUNT.reset(token)

    assert isinstance(answer, Completion)
    assert (answer.cut, answer.remedy) == (True, "raise SWARM_MAX_OUTPUT")


async def test_a_plan_that_was_cut_says_so_with_what_helps(tmp_path: Path) -> None:
    card = Card(name="writer", kind="instruction", description="Writes letters.", model="box/small")
    asked: list[str] = []

    def answer(request: Received) -> Reply:
        asked.append(request.last)
        return counts()(request)

    async with served(tmp_path, answer) as models:
        settings = Settings(plan_tokens=5)
        planned = await ModelPlanner(models.get("box/small"), settings).plan("Write a letter.", {"writer": card})

    assert planned.failure is not None
    assert "cut at the token limit; raise SWARM_PLAN_TOKENS" in planned.failure.message
    assert "token limit" in asked[1]
    assert "SWARM_PLAN_TOKENS" not in asked[1], "a setting is no matter of the model"


# -- what went wrong on the way is told as what it is ---------------------------------------------------------------


async def failure(tmp_path: Path, script: Script, api: str = "chat") -> str:
    """What is said of a call whose server answers like this."""
    async with served(tmp_path, script, f'api = "{api}"') as models:
        with pytest.raises(ExpertError) as caught:
            await complete(models.get("box/small"), ChatRequest(ASKED, timeout=5))
    return str(caught.value)


def refuses(message: str, status: int) -> Script:
    return lambda request: Reply({"error": {"message": message}}, status)


@pytest.mark.parametrize(
    ("script", "told", "untrue"),
    [
        (lambda request: None, "closed the connection before an answer", "check the URL"),
        (refuses("Proxy Authentication Required", 407), "password of the proxy", "check the key"),
        (refuses("Gateway Time-out", 504), "or of a gateway before it", "time-outs of the endpoint"),
        (refuses("CUDA out of memory", 500), "CUDA out of memory; check the log of the server", "URL"),
        (refuses("temperature must be 1", 400), "temperature must be 1; check what the card and the endpoint", "URL"),
        (lambda request: Reply("<html>Welcome</html>"), "a page of HTML; check the URL of its endpoint", "log"),
    ],
    ids=["dropped", "proxy", "gateway", "server", "request", "page"],
)
async def test_a_fault_is_told_as_what_it_is(tmp_path: Path, script: Script, told: str, untrue: str) -> None:
    said = await failure(tmp_path, script)

    assert told in said
    assert untrue not in said


async def test_who_speaks_another_protocol_is_at_another_url(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, OpenAIModels({"SWARM_ENDPOINT_BOX_URL": url}) as models:
        with pytest.raises(ModelUnavailable, match="check the URL of the endpoint 'box'"):
            await complete(models.get("box/small"), ChatRequest(ASKED, timeout=5))


CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        ("chat", Reply(completion(None, tool_calls=[CALL], finish_reason="tool_calls"))),
        ("chat", Stream([chunk(delta={"tool_calls": [CALL]}), chunk(finish_reason="tool_calls"), DONE])),
        ("chat", Stream([chunk(delta={"function_call": CALL["function"]}), chunk(finish_reason="stop"), DONE])),
        ("responses", Reply(response("{}", call="search"))),
        ("responses", Stream(response_events("{}", call="search"))),
    ],
    ids=["whole", "streamed", "of old", "response", "response streamed"],
)
async def test_a_call_of_a_tool_that_was_not_offered_is_told_as_such(
    tmp_path: Path, api: str, answer: Reply | Stream
) -> None:
    said = await failure(tmp_path, lambda request: answer, api)

    assert "called a tool (search), and there are none; say in its card that it has none" in said
    assert "empty" not in said


# -- the planner's model -------------------------------------------------------------------------------------------

CARDS = {
    "writer": Card(name="writer", kind="instruction", description="Writes letters to customers.", model="box/small"),
    "digest": Card(name="digest", kind="instruction", description="Summarises documents.", model="box/small"),
}


async def notes(tmp_path: Path, script: Script) -> tuple[str, ...]:
    """The notes on a plan for which a planner that answers like this was asked."""
    request = Request(text="Write a letter to the customer and summarise the document")
    async with served(tmp_path, script) as models:
        planned = await Planner(Settings(planner="box/small", skip=False), models).plan(request, catalog_of(CARDS))
    assert planned.planner == LOCAL
    return planned.notes


async def test_why_a_planners_model_gave_no_plan_is_told_where_its_last_turn_only_repeats(tmp_path: Path) -> None:
    told = await notes(tmp_path, refuses("CUDA out of memory", 500))

    assert "box/small, turn 2: the same as before" in told
    assert any(
        note.startswith("the planner's model gave no plan: box/small: HTTP 500: CUDA out of memory") for note in told
    )


@pytest.mark.parametrize("text", ['{"subtasks": []}', "[]", '```json\n{"plan": []}\n```'])
async def test_an_empty_plan_is_told_as_such(tmp_path: Path, text: str) -> None:
    assert any("the plan is empty: it has no subtasks" in note for note in await notes(tmp_path, lambda request: text))
