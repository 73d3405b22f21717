"""Write a file line by line: it appears complete or not at all, and never replaces an input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from swarm.errors import BadInput


def writable(field: str, path: Path, inputs: Sequence[Path], *, force: bool) -> None:
    """Raise BadInput if `path` is one of the inputs, under any name, or exists and `force` is not set."""
    if path.is_dir():
        raise BadInput(field, f"{path} is a folder", "name a file")
    if same := next((one for one in inputs if _same(path, one)), None):
        raise BadInput(field, f"{path} is {same}, which is read here", "name another file")
    if not force and _taken(path):
        raise BadInput(field, f"{path} exists", "choose another name, or overwrite it with --force")


@contextmanager
def written(field: str, path: Path, *, force: bool) -> Iterator[TextIO]:
    """Open a file that replaces `path` at the end of the block. Raises BadInput where it cannot be written."""
    target = path.resolve()
    # a pipe or a terminal cannot be replaced: write to it directly
    beside = target if _special(target) else target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        if beside != target:
            writable(field, path, (), force=force)
            beside.replace(target)
    except OSError as error:
        raise BadInput(field, f"{path} cannot be written ({error.strerror})", "name another file") from None
    finally:
        if beside != target:
            beside.unlink(missing_ok=True)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _taken(path: Path) -> bool:
    return os.path.lexists(path) and not _special(path)


def _special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()
