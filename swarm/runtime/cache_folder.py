"""The folder for files that can be made again, shared by the processes of one user on one machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "SWARM_CACHE"


def cache_folder(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder `name` in the cache; it is made. `SWARM_CACHE`, else `swarm-router` in the user's cache folder.

    Where that cannot be written, a folder of this user among the temporary files. Raises OSError if none can.
    """
    given = environ.get(VARIABLE, "").strip()
    home = environ.get("XDG_CACHE_HOME", "").strip()
    folder = Path(given).expanduser() if given else (Path(home) if home else _home()) / "swarm-router"
    try:
        return _made(folder / name)
    except OSError:
        if given:
            raise
        own = os.getuid() if hasattr(os, "getuid") else "user"
        return _made(Path(tempfile.gettempdir()) / f"swarm-router-{own}" / name)


def _home() -> Path:
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(tempfile.gettempdir())


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} is not writable")
    return folder
