"""The encoder of this machine, as `swarm doctor` sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from swarm.cli.doctor.findings import Finding, bad, good
from swarm.encoder.inventory import ModelStatus, model_status, runtime_is_installed
from swarm.encoder.models import DEFAULT, MULTILINGUAL, REMEDY, RERANKER


def encoders(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say which encoder and which other models are there, or that everything goes by words. It reads their files."""
    encoder, *others = (model_status(name, environ) for name in (DEFAULT, RERANKER, MULTILINGUAL))
    if encoder.state == "missing":
        yield good("encoder", f"none is installed, so texts are compared by words ({REMEDY} for one)")
        return
    if not runtime_is_installed():
        yield bad("encoder", f"{encoder.model.name} is there, but not ONNX Runtime, which runs it", REMEDY)
        return
    yield _finding(encoder)
    yield from (_finding(status) for status in others if status.state != "missing")


def _finding(status: ModelStatus) -> Finding:
    if status.state == "wrong":
        problem, _, remedy = status.problem.partition("; ")
        return bad("encoder", problem, remedy)
    return good("encoder", f"{status.model.identity} ({status.model.role}) is there: {status.origin}")
