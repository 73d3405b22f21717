"""How much a request may count as."""

from __future__ import annotations

import json

import pytest

from swarm.llm.base import Message, ResponseFormat
from swarm.llm.metered import (
    PER_CALL,
    PER_FORMAT,
    PER_MESSAGE,
    most_tokens,
)
from swarm.llm.openai.structured_output import WAYS, Way, parameters, worded
from swarm.llm.strict_schema import strictly

ASKED = [Message("user", "where is my parcel?")]
FORM = ResponseFormat("answer", {"type": "object"})


def test_a_form_counts_as_often_as_it_may_stand_in_a_prompt() -> None:
    assert most_tokens(ASKED, FORM) - most_tokens(ASKED) == 4 * len('{"type": "object"}') + PER_FORMAT


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("words", ["where is my parcel?", "où est 我的包裹 📦?", ""])
def test_a_request_has_no_more_bytes_of_text_than_tokens_are_held_for(way: Way, words: str) -> None:
    form = ResponseFormat("réponse", {"type": "object", "properties": {"où 📦": {"type": "string"}}})
    messages = [Message("user", words), Message("assistant", words)]

    said = "".join(message.content for message in worded(way, form, messages))
    beside = json.dumps(parameters(way, form, strictly(form.schema)), ensure_ascii=False)
    assert len((said + beside).encode()) < most_tokens(messages, form)
    assert most_tokens([Message("user", "où")]) == 3 + PER_MESSAGE + PER_CALL
