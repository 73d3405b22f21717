"""Every error arrives in another process as what it was: the class, the message and the facts."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import experts
import swarm
import workers
from swarm.errors import BadInput, CallFacts, ExpertError, SwarmError
from swarm.llm.bad_output import cut_output


def _import_all() -> None:
    for package in (swarm, experts, workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


_import_all()


def every(kind: type[SwarmError]) -> Iterator[type[SwarmError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


CLASSES = sorted({kind for kind in every(SwarmError) if kind.__module__.split(".")[0] != "tests"}, key=str)


st.register_type_strategy(Path, st.text("ab./", min_size=1).map(Path))


def made(kind: type[SwarmError]) -> st.SearchStrategy[SwarmError]:
    """Instances of a class, each of its arguments of any value that its annotation allows."""
    if kind.__init__ is Exception.__init__:
        return st.builds(kind, st.text())
    names = list(inspect.signature(kind).parameters)
    return st.builds(kind, **dict.fromkeys(names, ...))


MADE = {kind: made(kind) for kind in CLASSES}


def pickled(error: SwarmError) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes


def same(one: BaseException, other: BaseException) -> bool:
    """The same class, message and facts, of which one may be NaN."""
    return type(one) is type(other) and one.args == other.args and repr(vars(one)) == repr(vars(other))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=settings().max_examples // 5)  # of each of many classes
def test_every_error_is_the_same_again(kind: type[SwarmError], data: st.DataObject) -> None:
    error = data.draw(MADE[kind])

    for again in (pickled, copy, deepcopy):
        assert same(again(error), error), again


@pytest.mark.parametrize("again", [pickled, copy, deepcopy])
def test_what_was_noted_and_set_later_is_kept(again: Callable[[SwarmError], Any]) -> None:
    error = cut_output("box/small")
    error.call = replace(error.call, tokens=(3, 4))
    error.add_note("of subtask t1")

    assert same(again(error), error)
    assert (again(error).reason, again(error).call.tokens, again(error).__notes__) == ("cut", (3, 4), ["of subtask t1"])


def test_a_copy_is_another_error_with_facts_of_its_own() -> None:
    error = ExpertError("slow")
    other = copy(error)
    other.call = CallFacts(tokens=(1, 1))

    assert error.call.tokens == (0, 0)


def test_an_error_of_somebody_else_travels_too() -> None:
    assert same(pickled(_Theirs("k", 3)), _Theirs("k", 3))
    assert same(pickled(BadInput("text", "empty")), BadInput("text", "empty"))


class _Theirs(ExpertError):
    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count
        super().__init__(f"{key} was asked {count} times")
