"""Logging never costs a worker its life, and follows standard error wherever that goes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from swarm import log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_closed_standard_error_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    log.setup(as_json=True)
    monkeypatch.setattr(sys, "stderr", closed)

    log.get("worker").info(log.STARTED)

    assert closed.closed


def test_lines_go_to_where_standard_error_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    log.setup(as_json=True)
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)

    log.get("worker").warning(log.REDIS_AWAY, worker="w")

    assert json.loads(later.getvalue())["event"] == log.REDIS_AWAY


@pytest.mark.parametrize(
    ("message", "own"),
    [
        ("a/b: HTTP 400: my secret; check it", "a/b: HTTP 400"),
        (
            "a/b: HTTP 401: my\nsecret; check the key of the endpoint 'a'",
            "a/b: HTTP 401; check the key of the endpoint 'a'",
        ),
        ("a/b: an error instead of an answer: my secret", "a/b: an error instead of an answer"),
        ("a/b: the model will not answer this: my secret", "a/b: the model will not answer this"),
        ("a/b: no answer within 3 s", "a/b: no answer within 3 s"),
    ],
)
def test_the_words_of_a_server_are_taken_out_of_an_error(message: str, own: str) -> None:
    assert log.own(message) == own


def test_what_is_below_the_level_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("warning", as_json=True)

    log.get("worker").info(log.STARTED)

    assert capsys.readouterr().err == ""
