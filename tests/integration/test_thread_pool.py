"""A forked process has threads of its own."""

from __future__ import annotations

import asyncio
import os

import pytest

from swarm.runtime.thread_pool import in_thread


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_process_has_a_pool_of_its_own() -> None:
    await in_thread(int)
    child = os.fork()
    if child == 0:
        try:
            os._exit(asyncio.Runner().run(_answer()))
        except BaseException:
            os._exit(9)
    for _ in range(500):
        done, status = os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222
        if done:
            break
        await asyncio.sleep(0.01)
    else:
        os.kill(child, 9)
        pytest.fail("the child's work in a thread never ended")

    assert os.waitstatus_to_exitcode(status) == 7


async def _answer() -> int:
    return await in_thread(lambda: 7)
