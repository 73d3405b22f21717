"""An error arrives from a process pool as what it was."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from swarm.errors import UnknownExpert


def raise_unknown() -> None:
    raise UnknownExpert("nobody", ["faq"])


def test_an_error_in_a_process_pool_comes_out_as_it_is() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(raise_unknown).exception(60)
        after = pool.submit(len, "abc").result(60)

    assert isinstance(error, UnknownExpert)
    assert (error.name, error.known) == ("nobody", ("faq",))
    assert after == 3
