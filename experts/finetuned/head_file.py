"""Reads and writes the arrays of a head's file.

The file is an npz that numpy can open. It is parsed here instead, because a catalog may come from an untrusted source:
every value is checked, nothing is unpickled, and no size in the file is trusted for an allocation.
"""

from __future__ import annotations

import ast
import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

MAX_FILE = 10_000_000
MAX_UNPACKED = 80_000_000
MAX_LABELS = 5_000
MAX_LABEL = 200

T = TypeVar("T")


class UnsoundHead(ValueError):
    """The file of a head has an impossible value. The text completes "the head ..."."""


class HeadArrays:
    """The arrays of a head's file, each of which is checked when it is read. Raises UnsoundHead and what zip raises."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
            raise UnsoundHead(f"unpacks to more than {MAX_UNPACKED:,} bytes")
        self._archive = archive
        self.about = json.loads(self.array("about", "u1", None).tobytes())
        if not isinstance(self.about, dict):
            raise UnsoundHead("has no description")

    def labels(self) -> tuple[str, ...]:
        """The distinct labels of the head."""
        found = self.about.get("labels")
        if not isinstance(found, list) or not 2 <= len(found) <= MAX_LABELS or len(set(map(str, found))) < len(found):
            raise UnsoundHead("has no list of distinct labels")
        if not all(isinstance(label, str) and 0 < len(label) <= MAX_LABEL for label in found):
            raise UnsoundHead("has a label that is not a short text")
        return tuple(found)

    def floats(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array of finite numbers, as float32."""
        return self.array(name, dtype, shape).astype(np.float32)

    def array(self, name: str, dtype: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
        """An array with its header and size checked. `shape` None: any one-dimensional shape."""
        wanted = np.dtype(dtype)
        with self._archive.open(f"{name}.npy") as member:
            content = member.read(MAX_UNPACKED + 1)
        if content[:8] != b"\x93NUMPY\x01\x00" or (length := int.from_bytes(content[8:10], "little")) > 1_000:
            raise UnsoundHead(f"has an array {name} of unknown format")
        header, body = ast.literal_eval(content[10 : 10 + length].decode("latin-1").strip()), content[10 + length :]
        expected = (len(body) // wanted.itemsize,) if shape is None else shape
        if header != {"descr": np.lib.format.dtype_to_descr(wanted), "fortran_order": False, "shape": expected}:
            raise UnsoundHead(f"has an array {name} of the wrong type or shape")
        if len(body) != wanted.itemsize * math.prod(expected):
            raise UnsoundHead(f"has a truncated array {name}")
        array = np.frombuffer(body, dtype=wanted).reshape(expected)
        if wanted.kind == "f" and not np.isfinite(array).all():
            raise UnsoundHead(f"has values in {name} that are not numbers")
        return array


def parse(content: bytes, read: Callable[[HeadArrays], T]) -> T:
    """Read a head with `read`. Raises UnsoundHead for content of any kind that is not a head."""
    if len(content) > MAX_FILE:
        raise UnsoundHead(f"has {len(content):,} bytes, at most {MAX_FILE:,} are accepted")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return read(HeadArrays(archive))
    except UnsoundHead:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        shown = " ".join(str(error).split())[:100] or type(error).__name__
        raise UnsoundHead(f"is not a head file ({shown})") from None
    except (LookupError, TypeError, SyntaxError, MemoryError, OverflowError, NotImplementedError) as error:
        raise UnsoundHead(f"is not a head file ({type(error).__name__})") from None


def to_bytes(about: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialise a head. Equal heads give equal bytes."""
    file = io.BytesIO()
    described = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez_compressed(file, about=described, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
