"""Kinds of experts are named in one place; nothing else compares their names or those of local models."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from experts import kinds
from swarm.types.card import KINDS, is_local

ROOT = Path(__file__).parents[2]
NAMED_IN = {"experts/kinds.py", "swarm/types/card.py"}
OTHERS = {"local/planner", "local/python"}
"""Local models that are no kind's: the planner without a model, and experts in plain Python."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for part in ("swarm", "experts", "workers"):
        for path in sorted((ROOT / part).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in NAMED_IN:
                yield name, ast.parse(path.read_text())


def documentation(tree: ast.Module) -> set[int]:
    """The ids of the nodes that are docstrings, also those below a constant."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return {id(text) for text in texts if isinstance(text, ast.Constant)}


def test_every_kind_of_a_card_has_an_entry() -> None:
    assert tuple(kinds.KINDS) == KINDS


def test_each_local_model_is_local_and_of_one_kind() -> None:
    models = [kind.local_model for kind in kinds.KINDS.values()]

    assert all(is_local(model) for model in models)
    assert len(set(models)) == len(models)


def test_no_other_module_compares_a_kind() -> None:
    compared = {
        f"{name}:{node.lineno}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in KINDS and "kind" in ast.unparse(node)
    }

    assert compared == set()


def test_no_other_module_spells_a_local_model() -> None:
    spelt = {
        f"{name}:{node.lineno} {node.value!r}"
        for name, tree in modules()
        for texts in [documentation(tree)]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
        if is_local(node.value) and node.value not in OTHERS
    }

    assert spelt == set()


@pytest.mark.parametrize("model", ["local/template", "local/planner"])
def test_models_that_run_in_the_process_are_local(model: str) -> None:
    assert is_local(model)


@pytest.mark.parametrize("model", ["localhost/a", "openai/local", "local"])
def test_models_of_endpoints_are_not_local(model: str) -> None:
    assert not is_local(model)
