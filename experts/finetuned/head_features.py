"""Turns text into a sparse vector of hashed words, word pairs and 3- to 5-letter n-grams, equal on every machine."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 10_000
"""Maximum characters of a text; the rest is ignored."""

Floats = NDArray[np.floating[Any]]
_WORD = re.compile(r"\w+(?:'\w+)?")


@dataclass(frozen=True, slots=True)
class Rows:
    """A sparse matrix by rows: row i has `values[starts[i]:starts[i + 1]]` in the columns `columns[...]`."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]

    def dense(self, which: NDArray[np.int64], dims: int) -> NDArray[np.float32]:
        """The rows `which` as a dense matrix."""
        found = np.zeros((len(which), dims), dtype=np.float32)
        for place, row in enumerate(which):
            inside = slice(self.starts[row], self.starts[row + 1])
            found[place, self.columns[inside]] = self.values[inside]
        return found

    @property
    def owners(self) -> NDArray[np.int64]:
        """The row number of each value."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def grams(text: str) -> Iterator[str]:
    """The words, word pairs and n-grams of a text, each with a prefix for its type."""
    text = " ".join(text[:MAX_CHARACTERS].lower().split())
    words = _WORD.findall(text) or [text]
    yield from (f"w{word}" for word in words)
    yield from (f"b{first} {second}" for first, second in pairwise(words))
    for word in words:
        padded = f" {word} "
        for size in (3, 4, 5):
            yield from (f"c{padded[i : i + size]}" for i in range(len(padded) - size + 1))


def counted(texts: Sequence[str], dims: int) -> Rows:
    """Dampened counts of hashed grams. Rows are sorted by column, so that sums have a fixed order."""
    starts, columns, values = array("q", [0]), array("q"), array("q")
    for text in texts:
        counts = Counter(crc32(gram.encode("utf-8", "replace")) % dims for gram in grams(text))
        for column in sorted(counts):
            columns.append(column)
            values.append(counts[column])
        starts.append(len(columns))
    dampened = 1.0 + np.log(np.array(values, dtype=np.float64))
    return Rows(np.array(starts, dtype=np.int64), np.array(columns, dtype=np.int64), dampened)


def rarity(rows: Rows, dims: int) -> NDArray[np.float64]:
    """The inverse document frequency of each column."""
    seen = np.bincount(rows.columns, minlength=dims)
    return np.asarray(np.log(len(rows.starts) / (1.0 + seen)) + 1.0)


def weighted(rows: Rows, weights: Floats) -> Rows:
    """Weight each column, and normalise each row to length one."""
    values = rows.values * weights[rows.columns]
    squares = np.bincount(rows.owners, weights=values**2, minlength=len(rows.starts) - 1)
    lengths = np.sqrt(np.maximum(squares, 1e-12))
    return Rows(rows.starts, rows.columns, values / lengths[rows.owners])


BLOCK = 8_192
"""Values multiplied at once, which bounds the memory whatever the number of rows and labels."""


def times(rows: Rows, matrix: Floats) -> Floats:
    """`rows @ matrix`, summed in one fixed order. A row without values gives zeros."""
    found = np.zeros((len(rows.starts) - 1, matrix.shape[1]), dtype=matrix.dtype)
    values = rows.values.astype(matrix.dtype)[:, None]
    for first, last in _blocks(rows.starts):
        low, high = rows.starts[first], rows.starts[last]
        filled = first + np.flatnonzero(np.diff(rows.starts[first : last + 1]))
        if len(filled):
            products = matrix[rows.columns[low:high]] * values[low:high]
            found[filled] = np.add.reduceat(products, rows.starts[filled] - low, axis=0)
    return found


def transposed(rows: Rows, dims: int) -> Rows:
    """The transposed matrix, which `times` needs for a gradient."""
    order = np.argsort(rows.columns, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows.columns, minlength=dims))])
    return Rows(starts.astype(np.int64), rows.owners[order], rows.values[order])


def _blocks(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows with about BLOCK values each, at least one row."""
    first, end = 0, len(starts) - 1
    while first < end:
        last = int(np.searchsorted(starts, starts[first] + BLOCK, side="right")) - 1
        last = min(max(last, first + 1), end)
        yield first, last
        first = last
