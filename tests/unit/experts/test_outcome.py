"""What the errors of an expert's own clients come to."""

from __future__ import annotations

import errno
import socket
import ssl
import urllib.error
from email.message import Message
from typing import Any

import httpx2
import openai
import pytest
import redis

import swarm
from experts.outcome import describe_error, known_failure
from swarm.errors import ExpertError
from swarm.types.result import Failure

REQUEST = httpx2.Request("GET", "http://weather.test")


def named(name: str, *bases: type[Exception], **attributes: Any) -> Exception:
    """An error as a client that is not installed here would raise it."""
    error: Exception = type(name, bases or (Exception,), {})("went wrong")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def answer(status: int, **headers: str) -> httpx2.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=given, request=REQUEST)


def of_httpx(status: int, **headers: str) -> Exception:
    return httpx2.HTTPStatusError("refused", request=REQUEST, response=answer(status, **headers))


def of_urllib(code: int, **headers: str) -> Exception:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://weather.test", code, "refused", message, None)


def of_botocore(status: int, code: str) -> Exception:
    return named("ClientError", response={"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("peer went away"),
        ConnectionRefusedError(),
        BrokenPipeError(),
        TimeoutError(),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError(errno.ENETUNREACH, "no network"),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        ssl.SSLEOFError("hung up"),
        urllib.error.URLError(ConnectionRefusedError()),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("hung up"),
        openai.APIConnectionError(request=REQUEST),
        openai.APITimeoutError(request=REQUEST),
        redis.exceptions.ConnectionError("gone"),
        redis.exceptions.TimeoutError("slow"),
        named("ServerDisconnectedError"),
        named("ChunkedEncodingError", OSError),
        named("EndpointConnectionError", type("ConnectionError", (Exception,), {})),
        ExceptionGroup("both", [ConnectionResetError(), TimeoutError()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_server_out_of_reach_is_tried_again(error: Exception) -> None:
    failure = known_failure(error)

    assert failure is not None
    assert (failure.reason, failure.retryable) == ("unavailable", True)


@pytest.mark.parametrize(
    ("error", "after", "limited"),
    [
        (of_httpx(503), None, False),
        (of_httpx(429, retry_after="7"), 7.0, True),
        (of_httpx(408), None, False),
        (of_urllib(502), None, False),
        (of_urllib(429, Retry_After="3"), 3.0, True),
        (openai.InternalServerError("down", response=answer(500), body=None), None, False),
        (named("ClientResponseError", status=504, headers={"Retry-After": "2"}), 2.0, False),
        (of_botocore(400, "ThrottlingException"), None, True),
        (of_botocore(503, "ServiceUnavailable"), None, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_server_that_is_overloaded_or_broken_is_tried_again_when_it_says(
    error: Exception, after: float | None, limited: bool
) -> None:
    failure = known_failure(error)

    assert failure is not None
    assert (failure.reason, failure.retryable, failure.retry_after, failure.limited) == (
        "unavailable", True, after, limited,
    )  # fmt: skip


@pytest.mark.parametrize(
    "error", [of_httpx(404), of_httpx(401), of_urllib(400), named("ApiError", status_code=422), of_botocore(403, "No")]
)
def test_a_server_that_will_not_have_it_is_not_asked_again(error: Exception) -> None:
    failure = known_failure(error)

    assert failure is not None
    assert (failure.reason, failure.retryable) == ("refused", False)
    assert "HTTP 4" in failure.message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        FileNotFoundError("gone"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.ENOSPC, "disk full"),
        ssl.SSLCertVerificationError("not trusted"),
        named("Odd", status="broken"),
        named("Fine", status_code=200),
        SystemExit(503),
        ExceptionGroup("both", [ConnectionResetError(), KeyError("x")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_word_of_a_server_stays_a_bug(error: BaseException) -> None:
    assert known_failure(error) is None


def test_of_several_errors_the_one_that_no_try_mends_is_told() -> None:
    failure = known_failure(ExceptionGroup("both", [ConnectionResetError(), of_httpx(403)]))

    assert failure is not None
    assert not failure.retryable


def test_an_expert_says_itself_whether_to_try_again() -> None:
    again, never = known_failure(swarm.Retryable("busy", retry_after=5)), known_failure(swarm.GiveUp("no such city"))

    assert again == Failure(reason="unavailable", message="busy", retryable=True, retry_after=5)
    assert never == Failure(reason="expert_error", message="no such city")


class Silent(Exception):
    """Its text and its attributes cannot be had."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    @property
    def response(self) -> object:
        raise ZeroDivisionError


class SilentOurs(ExpertError):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_error_whose_words_cannot_be_had_is_told_by_its_type() -> None:
    ours = known_failure(SilentOurs("x"))

    assert "Silent" in describe_error(Silent())
    assert known_failure(Silent()) is None
    assert ours is not None
    assert "SilentOurs" in ours.message
