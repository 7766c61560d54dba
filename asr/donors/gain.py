"""A curve of error against hours of donor speech, fitted to measured runs: floor + scale * (1 + hours) ** -power.

For a given power the other two are a least-squares problem of two unknowns with a closed form, so only the power is
searched; no start values, no failure to converge.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError

Floats = NDArray[np.float64]

_POWERS = np.concatenate([[0.0], np.geomspace(0.01, 3.0, 600)])
_HIGHEST_ERROR = 2.0  # a word error rate above 200 % is a percentage that was not divided


class Point(NamedTuple):
    """A measured run: hours of donor speech, and the error rate as a fraction."""

    hours: float
    error: float


class Curve(NamedTuple):
    """The fitted curve.

    floor: error that no number of hours goes below, at least 0.
    scale: what hours take away in all, at least 0.
    power: how fast.
    residual: root of the mean squared distance of the points.
    """

    floor: float
    scale: float
    power: float
    residual: float

    def error(self, hours: float) -> float:
        """Expected error rate after so many hours."""
        return self.floor + self.scale * math.pow(1.0 + hours, -self.power)


def fit(points: Sequence[Point]) -> Curve:
    """Fit the curve; with two points the floor is 0.

    Raises:
        UserError: fewer than two different hours.
    """
    hours, errors = (np.array(values, dtype=np.float64) for values in zip(*points, strict=True)) if points else _NONE
    num_hours = len(set(hours.tolist()))
    if num_hours < 2:
        raise UserError(f"a curve needs runs with at least two different numbers of hours, got {num_hours}")
    curves = [_with_power(float(power), hours, errors, has_floor=num_hours > 2) for power in _POWERS]
    return min(curves, key=lambda curve: (curve.residual, curve.power))


_NONE: tuple[Floats, Floats] = (np.zeros(0), np.zeros(0))


def _with_power(power: float, hours: Floats, errors: Floats, *, has_floor: bool) -> Curve:
    """The best floor and scale, neither below 0, for this power."""
    falling = (1.0 + hours) ** -power
    centred = falling - falling.mean()
    spread = float(centred @ centred)
    candidates = [(0.0, float(falling @ errors) / float(falling @ falling))]
    if has_floor:
        candidates.append((float(errors.mean()), 0.0))
        if spread > 1e-12:
            scale = float(centred @ errors) / spread
            candidates.append((float(errors.mean()) - scale * float(falling.mean()), scale))
    curves = [
        Curve(floor, scale, power, float(np.sqrt(np.square(floor + scale * falling - errors).mean())))
        for floor, scale in candidates
        if floor >= 0 and scale >= 0
    ]
    return min(curves, key=lambda curve: curve.residual)


def read_points(path: str | Path) -> list[Point]:
    """Read measured runs from a .csv or .tsv with the columns hours and error (or wer, cer), as fractions.

    Raises:
        UserError: the file is missing, lacks a column, or a row is no measurement; named as file:line.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: can't be read ({error}); give a .csv or .tsv with the columns hours and error"
        ) from None
    column = next((name for name in ("error", "wer", "cer") if rows and name in rows[0]), None)
    if column is None or "hours" not in rows[0]:
        raise UserError(f"{path}: needs a header with the columns hours and error (or wer, cer) and at least one row")
    return [_point(row["hours"], row[column], f"{path}:{number}") for number, row in enumerate(rows, 2)]


def _point(hours: str, error: str, where: str) -> Point:
    try:
        point = Point(float(hours), float(error))
    except (TypeError, ValueError):
        raise UserError(f"{where}: hours {hours!r} and error {error!r} must be numbers") from None
    if not (0 <= point.hours < math.inf and 0 <= point.error <= _HIGHEST_ERROR):
        raise UserError(f"{where}: need hours >= 0 and an error rate as a fraction, got {hours} and {error}")
    return point
