"""Answers out of a file of rules: which one answers, what it says, and what is wrong with a file."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import BadInput, TooLarge
from swarm.testing import script_rules as module
from swarm.testing.dialect import FaultKind, InjectedFault, Said
from swarm.testing.model_server import Received, Reply, Stream
from swarm.testing.script_rules import ScriptRules


def received(last: str, system: str = "", model: str = "small", **more: Any) -> Received:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": last}]
    return Received("/v1/chat/completions", {}, {"model": model, "messages": messages, **more})


async def said(text: str, *requests: Received) -> list[Said]:
    rules = ScriptRules.read(text)
    return [await rules(request) for request in requests]


def problems(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        ScriptRules.read(text, "desk.yaml")
    assert caught.value.field == "desk.yaml"
    return caught.value.problem


# -- answers ---------------------------------------------------------------------------------------------------


async def test_the_first_rule_that_fits_answers() -> None:
    rules = """
    rules:
      - {when: {last: refund, system: policy desk}, say: by the policy}
      - {when: {model: large}, say: by the large one}
      - {when: refund, say: about refunds}
      - {say: of anything}
    """
    answers = await said(
        rules,
        received("a refund", "You are the policy desk."),
        received("a refund", "You are nobody.", model="large-2"),
        received("a refund"),
        received("A REFUND"),
    )

    assert answers == ["by the policy", "by the large one", "about refunds", "of anything"]


async def test_a_text_without_slashes_is_no_expression() -> None:
    rules = "rules: [{when: a.c, say: literal}, {when: '/a.c/', say: expression}, {say: neither}]"

    assert await said(rules, received("a.c"), received("abc"), received("ab")) == ["literal", "expression", "neither"]


async def test_what_expressions_caught_stands_in_the_answer() -> None:
    rules = r"""
    rules:
      - when: {last: '/order (\d+) of (?P<who>\w+)/', system: '/in (\w+)/'}
        say: '\1 for \g<who> in \3, \2 again; \4 and \g<nobody> stay'
    """
    answers = await said(rules, received("the order 17 of Ada", "Speak in French."))

    assert answers == [r"17 for Ada in French, Ada again; \4 and \g<nobody> stay"]


async def test_a_value_is_said_as_json_with_what_was_caught_made_safe() -> None:
    rules = r"rules: [{when: '/say (.*)/', say: {label: '\1', items: [1, '<\1>', null]}}]"
    (answer,) = await said(rules, received('say "quoted", ž and a\\b'))

    assert isinstance(answer, str)
    assert json.loads(answer) == {"label": '"quoted", ž and a\\b', "items": [1, '<"quoted", ž and a\\b>', None]}


async def test_a_text_keeps_the_escapes_of_the_json_in_it() -> None:
    (answer,) = await said(r"""rules: [{say: '{"text": "one\ntwo \"three\" ${t1}"}'}]""", received("x"))

    assert isinstance(answer, str)
    assert json.loads(answer) == {"text": 'one\ntwo "three" ${t1}'}


async def test_a_rule_may_answer_so_often_and_then_the_next_is_asked() -> None:
    rules = "rules: [{error: overloaded, times: 2}, {say: at last}]"

    assert await said(rules, *[received("x")] * 4) == [
        InjectedFault("overloaded"),
        InjectedFault("overloaded"),
        "at last",
        "at last",
    ]


async def test_an_error_is_a_fault_of_the_dialect_or_a_status() -> None:
    rules = "rules: [{when: one, error: upstream, say: half an}, {error: 503, say: later}]"
    fault, reply = await said(rules, received("one"), received("two"))

    assert fault == InjectedFault("upstream", "half an")
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body["error"]["message"]) == (503, "later")


async def test_a_rule_cuts_off_what_it_says() -> None:
    streamed, whole = await said(
        "rules: [{error: cut, say: one two three four}]", received("x", stream=True), received("x")
    )

    assert whole is None
    assert isinstance(streamed, Stream)
    assert streamed.cut
    text = "".join(part["choices"][0]["delta"]["content"] for part in list(streamed.parts))  # type: ignore[arg-type]
    assert "one two three four".startswith(text)
    assert 0 < len(text) < len("one two three four")


async def test_a_rule_waits_or_never_answers() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await said("rules: [{delay: 0.05, say: slowly}]", received("x")) == ["slowly"]
    assert loop.time() - begun >= 0.05
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(said("rules: [{error: hang}]", received("x")), 0.05)


async def test_where_no_rule_fits_the_answer_says_so() -> None:
    (answer,) = await said(
        "rules: [{when: refund, say: yes}]".replace("yes", "'yes'"), received("Where is\nmy parcel?")
    )

    assert isinstance(answer, Reply)
    assert answer.status == 404
    assert "no rule fits; the last message begins with 'Where is my parcel?'" in answer.body["error"]["message"]


async def test_only_the_beginning_of_a_long_message_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOOKED_AT", 10)

    assert await said("rules: [{when: end, say: a}, {say: b}]", received("x" * 10 + "end")) == ["b"]


# -- files -----------------------------------------------------------------------------------------------------


def test_every_problem_of_a_file_is_told_with_its_place() -> None:
    told = problems(
        """
        modles: [a]
        models: [1]
        rules:
          - {sya: hello}
          - {say: hello, when: {last: '/(/', sytem: x, model: ''}}
          - {say: hello, error: overload}
          - {say: hello, error: 200}
          - {say: hello, delay: -1}
          - {say: hello, times: 0}
          - {say: hello, times: 1.5}
          - {say: 2026-11-21}
          - just words
          - {when: 3, say: hello}
        """
    )

    known = ", ".join(get_args(FaultKind))
    assert told.split("; ") == [
        "modles: unknown field, did you mean 'models'?",
        "models: no list of names",
        "rules.1.sya: unknown field, did you mean 'say'?",
        "rules.1: neither say nor error",
        "rules.2.when.sytem: unknown field, did you mean 'system'?",
        "rules.2.when.last: no regular expression: missing ) at position 1",
        "rules.2.when.model: no text",
        f"rules.3.error: 'overload' is none of {known}, cut, hang or 400 to 599",
        f"rules.4.error: '200' is none of {known}, cut, hang or 400 to 599",
        "rules.5.delay: '-1' is no number from 0 to 3,600",
        "rules.6.times: '0' is no number from 1 to 1,000,000,000",
        "rules.7.times: no whole number",
        "and 3 more",
    ]


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_rules_or_refused(text: str) -> None:
    with suppress(BadInput):
        assert ScriptRules.read(text).rules


def test_json_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps({"models": ["a"], "rules": [{"when": "x", "say": {"y": 1}}]}))

    assert ScriptRules.load(tmp_path / "rules.json").models == ("a",)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        ScriptRules.load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("rules: [{say: žluť}]".encode("cp1250"))
    with pytest.raises(BadInput, match="not UTF-8"):
        ScriptRules.load(tmp_path / "latin.yaml")
    monkeypatch.setattr(module, "MAX_FILE", 10)
    (tmp_path / "long.yaml").write_text("rules: [{say: hello}]")
    with pytest.raises(TooLarge):
        ScriptRules.load(tmp_path / "long.yaml")
