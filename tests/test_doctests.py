"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for top in ("swarm", "experts", "workers") for path in (ROOT / top).rglob("*.py"))
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
    if re.search(r"^ *(r?\"\"\")?>>> ", path.read_text("utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    pytest.importorskip("openai")  # loaded here, as it takes longer than a first call is given
    found = doctest.testmod(importlib.import_module(name))

    assert found.attempted > 0, "an example that is not in a docstring shows nothing"
    assert found.failed == 0, "see what was printed"
