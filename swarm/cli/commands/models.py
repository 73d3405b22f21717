"""models list: the encoders and rerankers that can run on this machine."""

from __future__ import annotations

from typing import Any

import typer

from swarm.cli.base import exit_codes
from swarm.cli.base.context import AsJson, Edge
from swarm.encoder.inventory import ModelStatus, inventory, runtime_is_installed
from swarm.encoder.models import REMEDY

models = typer.Typer(
    name="models",
    help="Encoders and rerankers that run on this machine: list.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@models.callback()
def group() -> None:
    """Keeps `list` a verb, although it is the only one."""


@models.command("list")
def list_(as_json: AsJson = False) -> int:
    """List the models that can run here: their files, where these come from, licences, and whether digests are right.

    Files come from a folder of their name in SWARM_MODELS, else from an installed package.
    """
    edge = Edge.of(None, as_json)
    found, runtime = inventory(edge.environ), runtime_is_installed()
    edge.screen.document({"models": [_document(status) for status in found], "onnxruntime": runtime})
    rows = [
        (status.model.identity, status.model.role, _state(status), status.origin or "-", status.model.licence)
        for status in found
    ]
    edge.screen.columns(rows, ("MODEL", "ROLE", "STATE", "FROM", "LICENCE"))
    for status in found:
        if status.problem:
            edge.screen.note(("warning: ", "yellow"), status.problem)
    if not runtime:
        edge.screen.note(("warning: ", "yellow"), f"ONNX Runtime, which runs them, is not installed; {REMEDY}")
    return exit_codes.OK


def _state(status: ModelStatus) -> str:
    return "digest ok" if status.state == "installed" else "wrong file" if status.state == "wrong" else "missing"


def _document(status: ModelStatus) -> dict[str, Any]:
    model = status.model
    return {
        "name": model.name, "identity": model.identity, "role": model.role, "state": status.state,
        "origin": status.origin, "problem": status.problem, "licence": model.licence, "source": model.source,
        "package": model.package, "dimension": model.dimension, "pooling": model.pooling,
        "query_prefix": model.query_prefix, "limit": model.limit,
        "files": {file.name: file.sha256 for file in model.files},
    }  # fmt: skip
