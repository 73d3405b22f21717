"""The socket of the probe: private, told apart from what is not ours, and gone when its process is."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import BadInput
from workers.health import ask, main, serve


def healthy() -> dict[str, Any]:
    return {"healthy": True}


async def asked(path: Path) -> dict[str, Any]:
    return await asyncio.to_thread(ask, str(path))


def left_behind(path: Path) -> None:
    """As after kill -9."""
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(path))


async def test_it_answers_its_owner_alone_and_leaves_nothing(tmp_path: Path) -> None:
    async with serve(tmp_path / "health", healthy):
        assert await asked(tmp_path / "health") == {"healthy": True}
        assert stat.S_IMODE((tmp_path / "health").stat().st_mode) == 0o600

    assert list(tmp_path.iterdir()) == []


async def test_it_was_never_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_chmod(*_: object, **__: object) -> None:
        raise AssertionError("the mode was mended after others could connect")

    monkeypatch.setattr(os, "chmod", no_chmod)
    former = os.umask(0)
    try:
        async with serve(tmp_path / "health", healthy):
            assert stat.S_IMODE((tmp_path / "health").stat().st_mode) == 0o600
            assert os.umask(0) == 0, "the mask is as it was"
    finally:
        os.umask(former)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("precious")
    else:
        path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BadInput, match="not a socket") as caught:
        async with serve(path, healthy):
            pass

    assert caught.value.field == "health-socket"
    assert path.is_symlink() or path.exists()


async def test_a_socket_in_use_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "health"
    async with serve(path, healthy):
        with pytest.raises(BadInput, match="another process"):
            async with serve(path, dict):
                pass
        assert await asked(path) == {"healthy": True}


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    left_behind(tmp_path / "health")
    async with serve(tmp_path / "health", healthy):
        assert await asked(tmp_path / "health") == {"healthy": True}


async def test_on_leaving_only_our_own_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "health"
    async with serve(path, dict):
        path.unlink()
        left_behind(path)

    assert path.is_socket()


@pytest.mark.parametrize("path", ["no/such/folder/health", "x" * 120])
async def test_a_path_that_cannot_be_is_bad_input(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadInput, match="cannot listen on"):
        async with serve(tmp_path / path, healthy):
            pass


async def test_the_probe_has_a_code_for_each_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWARM_HEALTH_SOCKET", raising=False)
    path = tmp_path / "health"
    for report, code in ((healthy, 0), (dict, 1)):
        async with serve(path, report):
            assert await asyncio.to_thread(main, ["health", str(path)]) == code

    assert main(["health", str(path)]) == 2
    assert main(["health"]) == 2
    assert "no process answers on" in capsys.readouterr().err
