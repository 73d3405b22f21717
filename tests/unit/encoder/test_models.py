"""Where model files are looked for, and what is said when they are not there or are not the right ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.encoder.models import DEFAULT, KNOWN, LocatedModel, WrongDigest, known, locate
from swarm.encoder.onnx import open_encoder, open_reranker
from swarm.errors import BadInput, MissingDependency


def folder_of(tmp_path: Path, **contents: str) -> dict[str, str]:
    own = tmp_path / DEFAULT
    own.mkdir()
    for file in known(DEFAULT).files:
        (own / file.name).write_text(contents.get(file.name.partition(".")[0], file.name))
    return {"SWARM_MODELS": str(tmp_path)}


def test_an_identity_is_name_precision_and_digest() -> None:
    assert known(DEFAULT).identity == "bge-small-en-v1.5/int8@68807e3f"


@pytest.mark.parametrize("name", KNOWN)
def test_every_model_names_its_files_licence_and_source(name: str) -> None:
    model = known(name)

    assert [len(file.sha256) for file in model.files] == [64] * len(model.files)
    assert model.licence
    assert model.source
    assert (model.dimension > 0) == (model.role != "reranker")


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=f"'nope' is no model that runs here; known: .*{DEFAULT}"):
        locate("nope", {})


def test_the_folder_goes_before_the_package(tmp_path: Path) -> None:
    located = locate(DEFAULT, folder_of(tmp_path))

    assert located.origin == str(tmp_path / DEFAULT)
    assert [path.parent for path in located.paths] == [tmp_path / DEFAULT] * 2


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    environ = folder_of(tmp_path)
    (tmp_path / DEFAULT / "vocab.txt").unlink()

    with pytest.raises(MissingDependency, match=r"lacks .*vocab.txt; pip install 'swarm-router\[encoder\]'"):
        locate(DEFAULT, environ)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"SWARM_MODELS: {tmp_path}/no is no folder; correct or unset it"):
        locate(DEFAULT, {"SWARM_MODELS": f"{tmp_path}/no"})


def test_a_missing_package_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])

    remedy = r"not installed; pip install 'swarm-router\[encoder\]', or set SWARM_MODELS"
    with pytest.raises(MissingDependency, match=remedy):
        locate(DEFAULT, {})


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    located = locate(DEFAULT, folder_of(tmp_path))

    with pytest.raises(WrongDigest, match=r"model\.onnx has the sha256 .*, not 68807e3ff2abb83c") as caught:
        located.check()
    assert caught.value.path == str(tmp_path / DEFAULT / "model.onnx")


async def test_a_wrong_file_is_an_error_and_no_silent_fallback(tmp_path: Path) -> None:
    with pytest.raises(WrongDigest, match=r"vocab\.txt"):
        await open_encoder(environ=folder_of(tmp_path)).encode(["hello"])


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    located: LocatedModel = locate(DEFAULT, folder_of(tmp_path))
    vocabulary = tmp_path / DEFAULT / "vocab.txt"
    opened: list[str] = []
    real = open

    def counted(path: str, mode: str) -> object:
        opened.append(path)
        return real(path, mode)

    monkeypatch.setattr("builtins.open", counted)

    for content, changed in (("one", 1), ("two", 2), ("two", 2), ("two", 3)):
        vocabulary.write_bytes(content.encode())
        os.utime(vocabulary, ns=(changed, changed))
        with pytest.raises(WrongDigest):
            located.path("vocab.txt")

    assert opened == [str(vocabulary)] * 3


def test_an_encoder_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"{DEFAULT} is no reranker"):
        open_reranker(DEFAULT, folder_of(tmp_path))
