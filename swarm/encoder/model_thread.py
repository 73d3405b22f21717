"""The one thread of a process in which all its models run, so that no model ever runs on the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import ParamSpec, TypeVar

from swarm.runtime.thread_pool import NAME

P = ParamSpec("P")
T = TypeVar("T")


async def in_model_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in the model thread, after what was asked for before.

    When the caller is cancelled, a function that has not begun never does; one that has begun is left to its end.
    """
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread(os.getpid()), call)


@lru_cache(maxsize=1)
def _thread(process: int) -> ThreadPoolExecutor:
    """The model thread of this process. A forked process makes its own, since threads do not survive a fork."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"{NAME}-encoder")
