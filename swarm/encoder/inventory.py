"""Which of the known models are on this machine, from where, and whether their files are the right ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from swarm.encoder.models import KNOWN, IncompleteModel, KnownModel, WrongDigest, locate
from swarm.errors import MissingDependency


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A known model on this machine. `problem` is empty for an installed one."""

    model: KnownModel
    state: Literal["installed", "missing", "wrong"]
    """`wrong`: a file is missing, cannot be read, or has another digest."""
    origin: str = ""
    """The folder, or the package, that has its files."""
    problem: str = ""


def inventory(environ: Mapping[str, str] = os.environ) -> tuple[ModelStatus, ...]:
    """The state of every known model. It reads their files, so it blocks for some 0.1 s each.

    Raises BadInput for a SWARM_MODELS that is no folder.
    """
    return tuple(model_status(name, environ) for name in KNOWN)


def model_status(name: str, environ: Mapping[str, str] = os.environ) -> ModelStatus:
    """The state of the model `name`, its digests checked. It blocks. Raises BadInput as `locate` does."""
    try:
        located = locate(name, environ)
    except IncompleteModel as error:
        return ModelStatus(KNOWN[name], "wrong", problem=str(error))
    except MissingDependency as error:
        return ModelStatus(KNOWN[name], "missing", problem=str(error))
    try:
        located.check()
    except (WrongDigest, MissingDependency) as error:
        return ModelStatus(located.model, "wrong", located.origin, str(error))
    return ModelStatus(located.model, "installed", located.origin)


def runtime_is_installed() -> bool:
    """Whether ONNX Runtime is there, which runs the models. It is not imported."""
    return find_spec("onnxruntime") is not None
