"""Logging never costs a worker its life, follows standard error wherever that goes, and repeats no contents."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from swarm import logging
from swarm.errors import BrokerUnavailable
from swarm.types.result import Usage

WORDS = "words of the caller"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What was printed since the last look."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail(message: str) -> None:
    """Raise an error that came of another and holds a group."""
    parts = [KeyError(message), ExceptionGroup(message, [TypeError(message)])]
    try:
        raise LookupError(message)
    except LookupError as error:
        raise ExceptionGroup(message, parts) from error


def test_a_closed_standard_error_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    logging.setup(as_json=True)
    monkeypatch.setattr(sys, "stderr", closed)

    logging.get_logger("worker").info(logging.STARTED)

    assert closed.closed


def test_lines_go_to_where_standard_error_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.setup(as_json=True)
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)

    logging.get_logger("worker").warning(logging.REDIS_AWAY, worker="w")

    assert json.loads(later.getvalue())["event"] == logging.REDIS_AWAY


def test_a_line_has_its_time_its_level_and_who_wrote_it(lines: Lines) -> None:
    logging.setup(as_json=True)
    before = datetime.now(UTC)

    logging.get_logger("worker").info(logging.STARTED, worker="w")

    (line,) = lines()
    written = datetime.fromisoformat(line.pop("timestamp"))
    assert before - timedelta(milliseconds=1) <= written <= datetime.now(UTC)
    assert line == {"event": logging.STARTED, "level": "info", "part": "worker", "worker": "w"}


@pytest.mark.parametrize("said", ["Grüße an alle", "half a character \ud83d", "two\nlines"])
def test_a_line_is_one_line_of_ascii_whatever_is_said(capsys: pytest.CaptureFixture[str], said: str) -> None:
    logging.setup(as_json=True)

    logging.get_logger("worker").info(logging.STARTED, said=said, kind={"set"}, of=object)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.isascii()
    assert json.loads(line)["said"] == said


def test_what_is_set_up_later_counts_for_loggers_that_were_used_before(lines: Lines) -> None:
    logger = logging.get_logger("worker")
    logging.setup("warning", as_json=True)
    logger.info(logging.STARTED)
    logging.setup("info", as_json=True)
    logger.info(logging.STOPPED)
    with structlog.testing.capture_logs() as captured:
        logger.info(logging.SERVING)
    logger.info(logging.CATALOG)

    assert [line["event"] for line in lines()] == [logging.STOPPED, logging.CATALOG]
    assert [line["event"] for line in captured] == [logging.SERVING]


def test_what_is_below_the_level_is_not_printed(lines: Lines) -> None:
    logging.setup("warning", as_json=True)

    logging.get_logger("worker").info(logging.STARTED)

    assert lines() == []


async def test_bound_fields_are_those_of_a_task_and_of_the_tasks_that_it_starts(lines: Lines) -> None:
    async def deliver(job: str) -> None:
        logging.bind({"job": job, "for": "plan"})
        await asyncio.sleep(0)
        await asyncio.create_task(call(job))

    async def call(job: str) -> None:
        logging.get_logger("models").info(logging.CALLED, model=job)

    logging.setup(as_json=True)
    await asyncio.gather(deliver("j1"), deliver("j2"))
    logging.get_logger("worker").info(logging.STOPPED)

    told = [(line["event"], line.get("job"), line.get("for"), line.get("model")) for line in lines()]
    assert sorted(told[:2]) == [(logging.CALLED, "j1", "plan", "j1"), (logging.CALLED, "j2", "plan", "j2")]
    assert told[2:] == [(logging.STOPPED, None, None, None)]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_says_where_and_of_what_kind_and_not_what(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    logging.setup(as_json=as_json)
    try:
        fail(WORDS)
    except ExceptionGroup as error:
        logging.get_logger("worker").error(logging.DELIVERY_FAILED, exc_info=error)

    said = capsys.readouterr().err
    assert WORDS not in said
    for part in ("in fail", "LookupError", "KeyError", "TypeError", "ExceptionGroup"):
        assert part in said


def test_a_traceback_says_what_was_said_where_contents_are_asked_for(lines: Lines) -> None:
    logging.setup(as_json=True, contents=True)
    try:
        fail(WORDS)
    except ExceptionGroup as error:
        logging.get_logger("worker").error(logging.DELIVERY_FAILED, exc_info=error)

    assert "KeyError: 'words of the caller'" in lines()[0]["exception"]


def test_what_redis_did_is_told_in_full(lines: Lines) -> None:
    logging.setup(as_json=True)
    logging.get_logger("worker").error(logging.DELIVERY_FAILED, exc_info=BrokerUnavailable("here:1", "refused"))

    assert "cannot reach Redis at here:1 (refused)" in lines()[0]["exception"]


def test_errors_that_came_of_each_other_are_told_once(lines: Lines) -> None:
    one, other = KeyError("a"), TypeError("b")
    one.__cause__, other.__cause__ = other, one
    logging.setup(as_json=True)

    logging.get_logger("worker").error(logging.DELIVERY_FAILED, exc_info=one)

    assert lines()[0]["exception"].split() == ["TypeError", "--", "and", "so:", "KeyError"]


def test_what_was_used_is_told_without_what_is_nothing() -> None:
    assert logging.used(Usage(calls=1, output_tokens=3)) == {"calls": 1, "output_tokens": 3}
    assert logging.used(Usage()) == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("x" * logging.MOST_SHOWN, "x" * logging.MOST_SHOWN),
        ("y" * 10_000, "y" * 2_000 + " ... (10,000 characters) ... " + "y" * 2_000),
    ],
)
def test_an_excerpt_is_the_beginning_and_the_end_of_a_text(text: str, shown: str) -> None:
    assert logging.excerpt(text) == shown
