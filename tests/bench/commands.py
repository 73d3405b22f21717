"""Commands that a bench runs to their end for what they print."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Collection

from tests.bench.rig import ROOT, BenchError


class CommandFailed(BenchError):
    """A command did not end as it should."""


async def run(command: list[str], seconds: float, fine: Collection[int] = (0,)) -> str:
    """What a command printed. It and all that it started are gone afterwards.

    Raises CommandFailed with its last words after another exit code than those that are `fine`, and if it takes longer.
    """
    process = await create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, cwd=ROOT, start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        async with asyncio.timeout(seconds):
            said, errors = await process.communicate()
    except TimeoutError:
        raise CommandFailed(f"not done after {seconds:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode not in fine:
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
        raise CommandFailed(lines[-1][:300] if lines else f"exit code {process.returncode}")
    return said.decode()
