"""The log message of an error is its message unless it says otherwise."""

from __future__ import annotations

from swarm.errors import BadOutput, ModelUnavailable

SECRET = "my secret words"


def test_an_error_is_logged_as_it_is_unless_it_says_otherwise() -> None:
    plain, marked = BadOutput("it is empty"), ModelUnavailable(f"HTTP 500: {SECRET}", log_message="HTTP 500")

    assert (plain.log_message, marked.log_message) == ("it is empty", "HTTP 500")
    assert marked.worded("it is away").log_message == "it is away"
    assert (str(marked.prefixed("box/small")), marked.prefixed("box/small").log_message) == (
        f"box/small: HTTP 500: {SECRET}",
        "box/small: HTTP 500",
    )
    assert str(plain.prefixed("box/small").prefixed("box/small")) == "box/small: it is empty"
