"""Confirmation that a write reached the disk of Redis, for `SWARM_DURABLE=disk`."""

from __future__ import annotations

from typing import Any

from redis import exceptions

from swarm.errors import BrokerUndurable

DISK_MS = 5_000
"""Milliseconds that a write may take to reach the disk."""


async def waits_for_disk(wire: Any, where: str) -> bool:
    """Whether writes on this new connection need a WAITAOF; False: the server syncs before each reply anyway.

    A server without WAITAOF (older than 7.2) is set to `appendfsync always`. Raises BrokerUndurable if neither is
    possible.
    """
    try:
        await _asked(wire, "WAITAOF", 1, 0, 1)
    except exceptions.NoPermissionError as error:
        raise BrokerUndurable(where, "this user may not use WAITAOF: give it +waitaof") from error
    except exceptions.ResponseError as error:
        if "appendonly" in str(error):
            raise BrokerUndurable(where, "it has no append-only file: set appendonly yes") from error
        if "unknown command" not in str(error).lower():
            raise
    else:
        return True
    try:
        if (await _asked(wire, "CONFIG", "GET", "appendonly"))[1] != b"yes":
            raise BrokerUndurable(where, "it has no append-only file: set appendonly yes")
        if (await _asked(wire, "CONFIG", "GET", "appendfsync"))[1] != b"always":
            await _asked(wire, "CONFIG", "SET", "appendfsync", "always")
    except (exceptions.ResponseError, IndexError) as error:
        raise BrokerUndurable(where, "it has no WAITAOF, and this user may not set appendfsync always") from error
    return False


async def _asked(wire: Any, *command: str | int) -> Any:
    await wire.send_command(*command)
    return await wire.read_response()
