"""The layout of the tree: sizes of files, names of classes, what may lie at the top level.

A ceiling is today's number. It may only be lowered.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from swarm.types.card import KINDS, is_local

ROOT = Path(__file__).parents[1]
MAX_LINES = 350
OVER = {  # files that are still longer; a number may only be lowered
    "swarm/errors.py": 517,
    "tests/conftest.py": 415,
}
MAX_BYTES = 1_000_000
KINDS_NAMED_IN = {"experts/kinds.py", "swarm/types/card.py"}
OTHER_LOCAL = {"local/planner", "local/python"}
"""Local models that are no kind's: the planner without a model, and experts in plain Python."""
LOOSE = {"__init__.py", "errors.py", "logging.py", "settings.py", "strict_yaml.py"}
TOP_LEVEL = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile",
    "README.md", "compose.yaml", "docs", "experts", "pyproject.toml", "requirements-runtime.lock", "requirements.lock",
    "swarm", "tests", "workers",
}  # fmt: skip


def tracked() -> list[Path]:
    """Files under version control; all files of the package folders where there is no repository (a source archive)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    if listed.returncode:
        pytest.skip("no git repository here")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() or path.is_symlink()]


def product() -> list[Path]:
    return [path for part in ("swarm", "experts", "workers") for path in sorted((ROOT / part).rglob("*.py"))]


def suite() -> list[Path]:
    """The files of tests and their helpers; those in tests/integration are still to be split."""
    return [path for path in sorted((ROOT / "tests").rglob("*.py")) if ROOT / "tests/integration" not in path.parents]


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The syntax of every file of the product by its path."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in product()}


def documentation(tree: ast.Module) -> set[int]:
    """The ids of the nodes that are docstrings, also those below a constant."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return {id(text) for text in texts if isinstance(text, ast.Constant)}


def test_no_file_is_longer_than_its_limit() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (*product(), *suite())}

    assert {name: count for name, count in lines.items() if count > OVER.get(name, MAX_LINES)} == {}
    assert {name for name in OVER if lines.get(name, 0) <= MAX_LINES} == set(), "take these out of OVER"


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)

    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_imports_one_that_imports_it() -> None:
    """Imports for type checkers count, those inside functions do not; `static_order` raises a CycleError."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in product()}
    imports: dict[str, set[str]] = {}
    for path in product():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        top = ast.parse(path.read_text()).body
        guarded = [inner for node in top if isinstance(node, ast.If) for inner in node.body]
        found = [node for node in (*top, *guarded) if isinstance(node, ast.ImportFrom)]
        named = {(f"{node.module}.{each.name}", str(node.module)) for node in found for each in node.names}
        imports[name] = {full if full in modules else module for full, module in named} & modules - {name}

    assert set(TopologicalSorter(imports).static_order()) == modules


def test_loose_files_of_swarm_are_the_five_named_ones() -> None:
    assert {path.name for path in (ROOT / "swarm").glob("*.py")} == LOOSE


def test_the_top_level_has_only_known_names() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_no_tracked_file_is_a_link() -> None:
    """A tracked link leads out of each new clone: `make install` then clears an environment elsewhere."""
    assert [path for path in tracked() if path.is_symlink()] == []


def test_no_tracked_file_is_large() -> None:
    assert [path for path in tracked() if path.lstat().st_size > MAX_BYTES] == []


def test_only_the_table_of_kinds_compares_a_kind() -> None:
    compared = {
        f"{name}:{node.lineno}"
        for name, tree in trees().items()
        if name not in KINDS_NAMED_IN
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in KINDS and "kind" in ast.unparse(node)
    }

    assert compared == set()


def test_only_the_table_of_kinds_spells_a_local_model() -> None:
    spelt = {
        f"{name}:{node.lineno} {node.value!r}"
        for name, tree in trees().items()
        if name not in KINDS_NAMED_IN
        for texts in [documentation(tree)]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
        if is_local(node.value) and node.value not in OTHER_LOCAL
    }

    assert spelt == set()
