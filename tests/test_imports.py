"""What `import swarm` loads; the arrows between modules are import-linter's (`make lint`)."""

from __future__ import annotations

import subprocess
import sys

import swarm

HEAVY = ("openai", "httpx", "httpx2", "numpy", "onnxruntime", "arq", "structlog", "typer", "rich", "jinja2")


def loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has after `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_loads_no_library() -> None:
    assert not loaded("import swarm") & {*HEAVY, "redis", "pydantic"}


def test_the_client_needs_redis_and_pydantic_and_nothing_else_of_weight() -> None:
    found = loaded("from swarm import SwarmClient")

    assert {"redis", "pydantic"} <= found
    assert not found & set(HEAVY)


def test_cards_are_read_without_a_library_of_weight() -> None:
    found = loaded("import experts.base, experts.catalog.card_reader, experts.catalog.loader")

    assert not found & {"openai", "httpx", "httpx2", "numpy", "jinja2", "jsonschema"}


def test_naming_a_model_loads_no_library() -> None:
    found = loaded(
        "from swarm.llm.openai.models import OpenAIModels\nOpenAIModels({'OPENAI_API_KEY': 'k'}).get('openai/x')"
    )

    assert not found & {"openai", "httpx", "httpx2", "numpy"}


def test_every_public_name_is_there() -> None:
    assert set(dir(swarm)) == {*swarm.__all__, "__version__"}
    assert [name for name in swarm.__all__ if getattr(swarm, name, None) is None] == []
