"""What redis-py raises becomes one of our errors, and no message shows a password."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from redis import exceptions

from swarm.broker import pipeline
from swarm.broker.address import open_client, shown
from swarm.broker.connection_errors import translate, translated
from swarm.errors import (
    BadInput,
    BrokerDenied,
    BrokerError,
    BrokerFull,
    BrokerReadOnly,
    BrokerUnavailable,
    BrokerUntrusted,
    JobNotFound,
    SwarmError,
)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:secret@redis.example:6380/2?ssl_cert_reqs=none", "rediss://redis.example:6380/2"),
        ("redis://:se@cret@host", "redis://host"),
        ("unix://:secret@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@host", "user:secret@host", "redis://user:secret@host:port", "redis://user:secret/x@host"],
)
def test_a_wrong_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_client(url)
    assert "secret" not in str(caught.value)
    assert caught.value.field == "redis"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ConnectionError("refused"), BrokerUnavailable),
        (exceptions.TimeoutError(), BrokerUnavailable),
        (ConnectionResetError(), BrokerUnavailable),
        (exceptions.BusyLoadingError("loading"), BrokerUnavailable),
        (exceptions.ResponseError("LOADING Redis is loading the dataset in memory"), BrokerUnavailable),
        (exceptions.ResponseError("MASTERDOWN Link with MASTER is down"), BrokerUnavailable),
        (exceptions.AuthenticationError("invalid username-password pair"), BrokerDenied),
        (exceptions.NoPermissionError("no permissions"), BrokerDenied),
        (exceptions.ResponseError("NOAUTH Authentication required."), BrokerDenied),
        (exceptions.ResponseError("Protocol error: unauthenticated multibulk length"), BrokerDenied),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), BrokerReadOnly),
        (exceptions.ResponseError("Error running script: -READONLY You can't write"), BrokerReadOnly),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), BrokerFull),
        (exceptions.ResponseError("Error running script: -OOM command not allowed"), BrokerFull),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), BrokerFull),
        (exceptions.ResponseError("Error running script: @user_script: 9: -MISCONF Redis is configured"), BrokerFull),
        (exceptions.ResponseError("Error running script: The user executing the script can't run"), BrokerDenied),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), BrokerError),
    ],
)
def test_what_redis_said_is_one_of_our_errors(error: Exception, kind: type[SwarmError]) -> None:
    told = translate(error, "redis://host")

    assert type(told) is kind
    assert "redis://host" in str(told)


def ssl_error(kind: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    error = kind(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
        asyncio.IncompleteReadError(b"", 1),
        AttributeError("'NoneType' object has no attribute 'write'"),
        BrokenPipeError(),
        TimeoutError(),
        ssl_error(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"),
        ssl_error(ssl.SSLError, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"),
        ssl_error(ssl.SSLError, "SSLV3_ALERT_BAD_RECORD_MAC"),
    ],
)
def test_whatever_a_broken_connection_raises_is_unavailable(error: Exception) -> None:
    with pytest.raises(BrokerUnavailable) as caught, translated("rediss://host"):
        raise error
    assert caught.value.__cause__ is error
    assert "rediss://host" in str(caught.value)


@pytest.mark.parametrize("reason", ["CERTIFICATE_VERIFY_FAILED", "TLSV1_ALERT_UNKNOWN_CA", "WRONG_VERSION_NUMBER"])
def test_a_certificate_that_is_not_trusted_is_no_broken_connection(reason: str) -> None:
    assert isinstance(translate(ssl_error(ssl.SSLError, reason), "rediss://host"), BrokerUntrusted)


def test_a_cancel_and_our_own_errors_pass_untranslated() -> None:
    with pytest.raises(asyncio.CancelledError), translated("redis://host"):
        raise asyncio.CancelledError
    with pytest.raises(JobNotFound), translated("redis://host"):
        raise JobNotFound("j")


def test_what_redis_answered_to_the_greeting_is_not_taken_for_a_lost_connection() -> None:
    error = exceptions.ConnectionError("Authentication required.")
    error.__cause__ = exceptions.AuthenticationError("Authentication required.")

    assert isinstance(translate(error, "redis://host"), BrokerDenied)


def test_our_own_errors_stay_as_they_are() -> None:
    error = JobNotFound("j")
    assert translate(error, "redis://host") is error


COMMANDS = [("ECHO", "grüß dich"), ("SET", b"\x00\xff", "", 12, 1.5), ("EVAL", "return 1", 0)]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_packed_alike_with_and_without_hiredis(
    command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it = pipeline.packed(command)
    monkeypatch.setattr(pipeline, "hiredis", None)

    assert pipeline.packed(command) == with_it


@pytest.mark.parametrize("without", [False, True])
def test_what_cannot_be_sent_is_refused(without: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if without:
        monkeypatch.setattr(pipeline, "hiredis", None)
    with pytest.raises(BadInput, match="UTF-8"):
        pipeline.packed(("ECHO", "\ud800"))
    with pytest.raises(TypeError):
        pipeline.packed(("ECHO", None))


PROTECTED = "Redis is running in protected mode because protected mode is enabled and no password is set"


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        (exceptions.ResponseError(f"DENIED {PROTECTED}"), BrokerDenied, "give the server a password"),
        (exceptions.ConnectionError(f"-DENIED {PROTECTED}"), BrokerDenied, "give the server a password"),
        (exceptions.ResponseError("DB index is out of range"), BrokerDenied, "name a database that it has"),
        (exceptions.ClusterError("CLUSTERDOWN Hash slot not served"), BrokerDenied, "use one server, or Sentinel"),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), BrokerUnavailable, "check"),
    ],
)
def test_each_refusal_has_its_remedy(said: Exception, kind: type[SwarmError], remedy: str) -> None:
    error = translate(said, "redis://host")

    assert type(error) is kind
    assert remedy in str(error)


def test_a_replica_behind_sentinels_is_a_master_that_has_moved() -> None:
    error = translate(exceptions.ReadOnlyError("READONLY"), "redis+sentinel://one/main")

    assert isinstance(error, BrokerUnavailable)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://one", "redis+sentinel:///main", "redis+sentinel://one/main/x", "redis://h?no_such=1"]
)
def test_a_url_that_is_not_whole_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="SERVICE"):
        open_client(url)
