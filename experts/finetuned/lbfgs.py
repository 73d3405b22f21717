"""Minimises smooth convex functions with L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]
"""Value and gradient at a point."""

SMALL = 1e-5
"""Stop after a step that lowers the value by less than this share."""
MEMORY = 8
"""Steps from which the curvature is estimated."""


def minimise(objective: Objective, size: int, steps: int) -> Vector:
    """The point of `size` numbers with the least value, searched from zero in at most `steps` steps."""
    point = np.zeros(size)
    value, gradient = objective(point)
    pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        direction = _direction(gradient, pairs)
        step, slope = 1.0, float((gradient * direction).sum())
        while True:
            moved = point - step * direction
            lower, changed = objective(moved)
            if lower <= value - 1e-4 * step * slope:
                break
            step /= 2
            if step < 1e-8:
                return point
        shift, bend = moved - point, changed - gradient
        curvature = float((shift * bend).sum())
        if curvature > 1e-10:
            pairs.append((shift, bend, curvature))
        done = value - lower < SMALL * value
        point, value, gradient = moved, lower, changed
        if done:
            break
    return point


def _direction(gradient: Vector, pairs: Sequence[tuple[Vector, Vector, float]]) -> Vector:
    """The two-loop recursion: the gradient times an estimate of the inverse Hessian."""
    direction, factors = gradient.copy(), []
    for shift, bend, curvature in reversed(pairs):
        factors.append(float((shift * direction).sum()) / curvature)
        direction -= factors[-1] * bend
    if pairs:
        _, bend, curvature = pairs[-1]
        direction *= curvature / float((bend * bend).sum())
    else:
        direction /= max(1.0, float(np.sqrt((gradient * gradient).sum())))
    for (shift, bend, curvature), factor in zip(pairs, reversed(factors), strict=True):
        direction += (factor - float((bend * direction).sum()) / curvature) * shift
    return direction
