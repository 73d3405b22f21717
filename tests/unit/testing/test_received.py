"""The words of a request are found in whichever form they stand."""

from __future__ import annotations

from typing import Any

from swarm.testing.model_server import Received


def test_the_words_of_a_request_are_found_in_every_form() -> None:
    parts = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]
    of_chat = Received("/v1/chat/completions?api-version=1", {}, {"messages": parts})
    of_response = Received("/v1/responses", {}, {"input": parts, "instructions": "Be kind."})

    assert (of_chat.route, of_chat.system, of_chat.last) == ("chat", "Be brief.", "hi")
    assert (of_response.system, of_response.last) == ("Be kind.\n\nBe brief.", "hi")
    bodies: list[Any] = [None, [], "text", {}, {"messages": []}, {"messages": [3]}, {"input": {"a": 1}}]
    for body in bodies:
        odd = Received("/v1/chat/completions", {}, body)
        assert (odd.system, odd.model, odd.streamed) == ("", "", False)
        assert isinstance(odd.last, str)
