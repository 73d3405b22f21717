"""The remedy that an error names works in the case in which it is told: each is provoked at a server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pytest

from experts.base import Allowance, until
from experts.writing import written
from swarm.errors import BadOutput
from swarm.llm.base import Completion, Form, Message
from swarm.llm.metering import ACCOUNT, Held, MeteredModels, Used
from swarm.llm.openai import OpenAIModels
from swarm.llm.server import ModelServer, Received, Reply, completion
from swarm.models import Card, Usage
from swarm.planner.llm import ModelPlanner
from swarm.prices import Price
from swarm.sampling import Cap, Sampling
from swarm.settings import Settings
from workers.accounts import most_written

ASKED = [Message("user", "Count to forty.")]
FORM = Form("answer", {"type": "object"})
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
async def served(
    tmp_path: Path, script: Callable[[Received], object], sampling: str = ""
) -> AsyncIterator[OpenAIModels]:
    async with ModelServer(script) as server:  # type: ignore[arg-type]
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

    async def reserve(self, model: str, sent: int, wanted: int | None, seconds: float) -> Held:
        return Held(1, model, cap=wanted or Cap(5, "SWARM_MAX_OUTPUT"))

    def settle(self, held: Held, used: Used) -> Usage:
        return Usage()


async def test_a_cap_of_a_budget_is_named_as_such(tmp_path: Path) -> None:
    token = ACCOUNT.set(Purse())
    try:
        async with served(tmp_path, counts()) as models:
            answer = await MeteredModels(models).get("box/small").complete(ASKED)
    finally:
        ACCOUNT.reset(token)

    assert isinstance(answer, Completion)
    assert (answer.cut, answer.remedy) == (True, "raise SWARM_MAX_OUTPUT")


def test_the_cap_of_a_budget_is_that_of_the_price_where_that_is_smaller() -> None:
    price = Price(input=1, output=1, max_output=8, as_of=date(2026, 11, 1))

    assert (
        most_written("box/small", price, 4_096).by == "the most of its price (swarm prices set box/small --max-output)"
    )
    assert most_written("box/small", price, 4).by == most_written("box/small", None, 4).by == "SWARM_MAX_OUTPUT"


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
