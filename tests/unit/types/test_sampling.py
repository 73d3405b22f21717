"""How a model is to write: what cards and endpoints may say of it, what beats what, and what a server is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from experts.catalog.card_reader import CardReader, read_card
from experts.catalog.loader import versioned
from experts.instruction.expert import build
from swarm.errors import BadInput, ModelRefused
from swarm.llm.base import ChatRequest, Message, complete
from swarm.llm.endpoints import Endpoints
from swarm.llm.logged import LoggedModels
from swarm.llm.metered import ACCOUNT, CallOutcome, MeteredModels, Reservation
from swarm.llm.openai.models import OpenAIModels
from swarm.testing.model_server import ModelServer
from swarm.testing.scripted_model import ScriptedModels
from swarm.types.card import Card
from swarm.types.plan import Subtask
from swarm.types.result import Usage
from swarm.types.sampling import MAX_EXTRA, RESERVED, UNSET, Sampling

HELLO = [Message("user", "hello")]
WHOLE = Sampling(
    max_tokens=40, temperature=0, top_p=0.5, stop=("END", "\n\n"), seed=7, reasoning_effort="low", extra={"top_k": 4}
)
FRONT = """---
kind: instruction
description: Writes.
model: box/small
{}
---
Write.
"""


def card_of(folder: Path, *lines: str) -> Card:
    (folder / "writer.md").write_text(FRONT.format("\n".join(lines)))
    return read_card(folder / "writer.md", folder)[0]


def problem(folder: Path, *lines: str) -> str:
    (folder / "writer.md").write_text(FRONT.format("\n".join(lines)))
    (found,) = CardReader(folder / "writer.md", folder).problems
    return str(found)


@asynccontextmanager
async def served(folder: Path, more: str = "") -> AsyncIterator[tuple[ModelServer, OpenAIModels]]:
    async with ModelServer(lambda request: "yes") as server:
        path = folder / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "{server.url}"\n{more}\n')
        async with OpenAIModels({"SWARM_CONFIG": str(path)}) as models:
            yield server, models


def test_a_card_may_say_how_its_model_writes(tmp_path: Path) -> None:
    card = card_of(
        tmp_path, "max_tokens: 40", "temperature: 0", "top_p: 0.5", 'stop: [END, "\\n\\n"]', "seed: 7",
        "reasoning_effort: low", "extra: {top_k: 4}",
    )  # fmt: skip

    assert card.sampling == WHOLE
    assert card_of(tmp_path, "stop: END").sampling == Sampling(stop=("END",))
    assert card_of(tmp_path).sampling == UNSET


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("temprature: 0", "key 'temprature' is unknown; did you mean 'temperature'?"),
        ("temperature: 2.5", "temperature must be at most 2.0; lower it"),
        ("temperature: warm", "temperature Input should be a valid number"),
        ("temperature: true", "temperature Input should be a valid number"),
        ("max_tokens: 0", "max_tokens must be at least 1; raise it"),
        ("max_tokens: true", "max_tokens Input should be a valid integer"),
        ("top_p: 0", "top_p must be more than 0.0; raise it"),
        ("seed: 1.5", "seed Input should be a valid integer"),
        ("stop: ['']", "stop.0 String should have at least 1 character"),
        ("reasoning_effort: hard", "reasoning_effort Input should be 'none', 'minimal', 'low'"),
        ("extra: {temperature: 1}", "extra 'temperature' is a setting of its own; move it out"),
        ("extra: {stream: false}", "extra 'stream' is not yours to set here"),
        ("extra: {max_completion_tokens: 9}", "extra 'max_completion_tokens' is not yours to set here"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_with_its_name_and_the_remedy(tmp_path: Path, line: str, said: str) -> None:
    assert said in problem(tmp_path, line)


def test_what_asks_no_model_has_nothing_to_set(tmp_path: Path) -> None:
    (tmp_path / "writer.md").write_text(FRONT.format("temperature: 0").replace("box/small", "local/template"))
    (found,) = CardReader(tmp_path / "writer.md", tmp_path).problems

    assert "temperature is for a language model, and local/template asks none; leave it out" in str(found)


def test_a_card_keeps_its_version_until_a_setting_is_given(tmp_path: Path) -> None:
    plain = card_of(tmp_path)
    before = versioned(plain).version

    # what the release before made of this very card
    assert before == "9be5e7a9668ae329"
    assert versioned(plain.model_copy(update={"sampling": Sampling(seed=1)})).version != before


@given(st.sampled_from(sorted(RESERVED)), st.integers())
def test_extra_never_sets_what_the_request_and_its_price_rest_on(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        Sampling(extra={name: value})


def test_extra_is_plain_and_not_large() -> None:
    with pytest.raises(ValidationError, match="more than 10,000 bytes"):
        Sampling(extra={"grammar_file": "x" * MAX_EXTRA})
    with pytest.raises(ValidationError, match="not finite"):
        Sampling(extra={"min_p": float("nan")})


SETTINGS = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 9),
    temperature=st.none() | st.floats(0, 2),
    stop=st.lists(st.text("ab", min_size=1), max_size=2),
    extra=st.dictionaries(st.sampled_from(["top_k", "min_p"]), st.integers()),
)


@given(SETTINGS, SETTINGS)
def test_what_is_said_beats_a_default_and_nothing_else_is_lost(own: Sampling, default: Sampling) -> None:
    found = own.over(default)

    assert found.given.keys() == own.given.keys() | default.given.keys()
    assert found.extra == default.extra | own.extra
    assert all(found.given[name] == value for name, value in own.given.items() if name != "extra")
    assert (own.over(UNSET), UNSET.over(default)) == (own, default)


async def test_a_server_is_sent_what_the_card_says_and_else_what_its_endpoint_says(tmp_path: Path) -> None:
    defaults = "sampling = { temperature = 1, max_tokens = 9, extra = { top_k = 1, min_p = 0.1 } }"
    card = Card(name="writer", kind="instruction", description="d", model="box/small", sampling=WHOLE)
    async with served(tmp_path, defaults) as (server, models):
        await (await build(card, None, models)).solve(Subtask(id="t1", expert="writer", instruction="hi"), {})  # type: ignore[arg-type]
        await complete(models.get("box/small"), ChatRequest(HELLO))
        await complete(models.get("box/small"), ChatRequest(HELLO, max_tokens=3))

    mine, plain, capped = (request.body for request in server.requests)
    said = {"temperature": 0, "top_p": 0.5, "stop": ["END", "\n\n"], "seed": 7, "reasoning_effort": "low"}
    assert mine.items() >= (said | {"top_k": 4, "min_p": 0.1, "max_tokens": 40}).items()
    assert plain.items() >= {"temperature": 1, "max_tokens": 9, "top_k": 1, "min_p": 0.1}.items()
    assert "seed" not in plain
    assert capped["max_tokens"] == 3


async def test_responses_are_asked_in_their_own_words(tmp_path: Path) -> None:
    async with served(tmp_path, 'api = "responses"') as (server, models):
        model = models.get("box/small")
        await complete(
            model,
            ChatRequest(HELLO, sampling=Sampling(temperature=0, max_tokens=4, reasoning_effort="low", extra={"k": 1})),
        )
        with pytest.raises(ModelRefused, match="the responses API has no stop and no seed; leave it out") as caught:
            await complete(model, ChatRequest(HELLO, sampling=WHOLE))

    (request,) = server.requests
    assert request.body.items() >= {"temperature": 0, "max_output_tokens": 4, "k": 1}.items()
    assert request.body["reasoning"] == {"effort": "low"}
    assert caught.value.call.billed == "nothing"


def test_the_file_of_endpoints_is_as_strict(tmp_path: Path) -> None:
    def refused(sampling: str, api: str = "chat") -> str:
        path = tmp_path / "swarm.toml"
        path.write_text(f'[endpoints.box]\nurl = "http://box/v1"\napi = "{api}"\nsampling = {sampling}\n')
        with pytest.raises(BadInput) as caught:
            Endpoints.load({"SWARM_CONFIG": str(path)})
        return str(caught.value)

    assert "[endpoints.box] sampling.temprature: unknown; did you mean 'temperature'?" in refused("{ temprature = 1 }")
    assert "[endpoints.box] sampling.top_p: must be at most 1.0; lower it" in refused("{ top_p = 2 }")
    assert "sampling.extra: 'n' is not yours to set here" in refused("{ extra = { n = 2 } }")
    assert "sampling.stop: the responses API does not have it" in refused('{ stop = "X" }', "responses")


class Purse:
    """An account that keeps what is reserved."""

    def __init__(self) -> None:
        self.wanted: list[int | None] = []

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Reservation:
        self.wanted.append(wanted)
        return Reservation(1, model, cap=wanted)

    def settle(self, held: Reservation, used: CallOutcome) -> Usage:
        return Usage()


async def test_what_a_call_can_cost_is_held_for_the_cap_that_is_sent(tmp_path: Path) -> None:
    purse = Purse()
    token = ACCOUNT.set(purse)
    try:
        async with served(tmp_path, "sampling = { max_tokens = 9 }") as (server, models):
            model = LoggedModels(MeteredModels(models)).get("box/small")
            await complete(model, ChatRequest(HELLO))
            await complete(model, ChatRequest(HELLO, sampling=Sampling(max_tokens=5)))
            await complete(model, ChatRequest(HELLO, max_tokens=3, sampling=Sampling(max_tokens=5)))
    finally:
        ACCOUNT.reset(token)

    assert purse.wanted == [9, 5, 3] == [request.body["max_tokens"] for request in server.requests]


async def test_the_line_of_a_call_says_how_it_was_sampled() -> None:
    models: Any = LoggedModels(MeteredModels(ScriptedModels(lambda messages: "yes")))
    with capture_logs() as lines:
        await complete(models.get("box/small"), ChatRequest(HELLO, sampling=WHOLE))
        await complete(models.get("box/small"), ChatRequest(HELLO))

    assert lines[0]["sampling"] == WHOLE.given | {"extra": ["top_k"]}
    assert "sampling" not in lines[1]
