"""A trained head (labels and the weights of their classifier) and its file format.

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experts.finetuned.head_features import Floats, counted, times, weighted
from swarm.errors import BadInput

FORMAT = 1
MAX_FILE = 10_000_000
MAX_UNPACKED = 80_000_000
MAX_LABELS = 1_000
MAX_LABEL = 200
_DIMS = range(8, 21)
"""Accepted binary logarithms of the number of columns."""
_REMEDY = "train the head again"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear classifier over hashed n-grams. Its probabilities are calibrated on rows it was not fitted on."""

    labels: tuple[str, ...]
    weights: NDArray[np.float32] = field(repr=False)
    """Shape: columns by labels."""
    bias: NDArray[np.float32] = field(repr=False)
    rarity: NDArray[np.float32] = field(repr=False)

    @property
    def dims(self) -> int:
        return len(self.rarity)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """One row per text, one column per label; rows sum to one."""
        rows = weighted(counted(texts, self.dims), self.rarity)
        return softmax(times(rows, self.weights) + self.bias)

    def to_bytes(self) -> bytes:
        """Serialise the head. Equal heads give equal bytes; weights are stored in half precision."""
        about = json.dumps({"format": FORMAT, "labels": self.labels, "dims": self.dims}).encode()
        file = io.BytesIO()
        np.savez_compressed(
            file,
            about=np.frombuffer(about, dtype=np.uint8),
            weights=self.weights.astype("<f2"),
            bias=self.bias.astype("<f4"),
            rarity=self.rarity.astype("<f2"),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Head:
        """Parse a head. Raises BadInput."""
        if problem := head_problem(content):
            raise BadInput("head", problem, _REMEDY)
        return _read(content)


def head_problem(content: bytes) -> str | None:
    """Describe why this is not a head; None if it is one."""
    try:
        _read(content)
    except _Unsound as error:
        return str(error)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        return f"is not a head file ({' '.join(str(error).split())[:100] or type(error).__name__})"
    except (LookupError, TypeError, SyntaxError, MemoryError, OverflowError, NotImplementedError) as error:
        return f"is not a head file ({type(error).__name__})"
    return None


def softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


class _Unsound(ValueError):
    """The file of a head has an impossible value."""


def _read(content: bytes) -> Head:
    if len(content) > MAX_FILE:
        raise _Unsound(f"has {len(content):,} bytes, at most {MAX_FILE:,} are accepted")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
            raise _Unsound(f"unpacks to more than {MAX_UNPACKED:,} bytes")
        about = json.loads(_array(archive, "about", np.dtype("u1"), None).tobytes())
        labels, dims = _about(about)
        weights = _array(archive, "weights", np.dtype("<f2"), (dims, len(labels)))
        bias = _array(archive, "bias", np.dtype("<f4"), (len(labels),))
        rarity = _array(archive, "rarity", np.dtype("<f2"), (dims,))
    return Head(labels, weights.astype(np.float32), bias.astype(np.float32), rarity.astype(np.float32))


def _about(about: Any) -> tuple[tuple[str, ...], int]:
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _Unsound(f"is not of format {FORMAT}")
    labels, dims = about.get("labels"), about.get("dims")
    if not isinstance(labels, list) or not 2 <= len(labels) <= MAX_LABELS or len(set(map(str, labels))) < len(labels):
        raise _Unsound("has no list of distinct labels")
    if not all(isinstance(label, str) and 0 < len(label) <= MAX_LABEL for label in labels):
        raise _Unsound("has a label that is not a short text")
    if type(dims) is not int or dims not in {2**power for power in _DIMS}:
        raise _Unsound("has an invalid number of columns")
    return tuple(labels), dims


def _array(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Read one array, checking its header and size. `shape` None: any one-dimensional shape."""
    with archive.open(f"{name}.npy") as member:
        content = member.read(MAX_UNPACKED + 1)
    if content[:8] != b"\x93NUMPY\x01\x00" or (length := int.from_bytes(content[8:10], "little")) > 1_000:
        raise _Unsound(f"has an array {name} of unknown format")
    header, body = ast.literal_eval(content[10 : 10 + length].decode("latin-1").strip()), content[10 + length :]
    expected = (len(body) // dtype.itemsize,) if shape is None else shape
    if header != {"descr": _descr(dtype), "fortran_order": False, "shape": expected}:
        raise _Unsound(f"has an array {name} of the wrong type or shape")
    if len(body) != dtype.itemsize * math.prod(expected):
        raise _Unsound(f"has a truncated array {name}")
    array = np.frombuffer(body, dtype=dtype).reshape(expected)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise _Unsound(f"has values in {name} that are not numbers")
    return array


def _descr(dtype: np.dtype[Any]) -> Any:
    return np.lib.format.dtype_to_descr(dtype)
