"""How well two sets of items that belong together pair off: mutual nearest neighbours (MEXA)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MEXA_SIZE = 100


class Mexa(NamedTuple):
    """Share of pairs that are each other's strict nearest neighbours, averaged over random draws of pairs.

    Attributes:
        value: mean of the draws, a fraction.
        deviation: standard deviation between draws.
        size: pairs in a draw. The share falls with the size, so only values of one size may be compared.
        num_draws: how many.
    """

    value: float
    deviation: float
    size: int
    num_draws: int


def mutual_nearest(scores: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each pair scores strictly highest in its row and in its column (MEXA, Kargaran et al., ACL 2025).

    Args:
        scores: (N, N) float, items of one side × their partners, in the same order.

    Returns:
        (N,) bool. A tie isn't nearest: constant scores give none.
    """
    size = len(scores)
    if scores.shape != (size, size) or not size or np.isnan(scores).any():
        raise ValueError(f"scores must be square and without NaN, got shape {scores.shape}")
    own = np.diagonal(scores)
    # Each number of its row that isn't below the pair's own; the pair itself is one of them.
    in_row = (scores >= own[:, None]).sum(axis=1)
    in_column = (scores >= own[None, :]).sum(axis=0)
    found: NDArray[np.bool_] = (in_row == 1) & (in_column == 1)
    return found


def mexa(
    scores: NDArray[Any],
    *,
    row_groups: Sequence[Any],
    column_groups: Sequence[Any],
    size: int = MEXA_SIZE,
    num_draws: int = 50,
    seed: int = 0,
) -> Mexa | None:
    """MEXA of fixed size between texts and clips: draw groups, one text and one clip of each, and count.

    Args:
        scores: (T, C) float.
        row_groups: (T,) group of each row.
        column_groups: (C,) group of each column.
        size: groups in a draw.
        num_draws: draws to average over; one is enough where there are as many groups as `size` and one item each.
        seed: the same seed gives the same value.

    Returns:
        None where fewer than `size` groups are on both sides: a smaller size would give a higher, different figure.
    """
    if scores.shape != (len(row_groups), len(column_groups)):
        raise ValueError(f"scores are {scores.shape} for {len(row_groups)} and {len(column_groups)} groups")
    if size < 1 or num_draws < 1:
        raise ValueError(f"size and num_draws must be at least 1, got {size} and {num_draws}")
    rows, columns = _places(row_groups), _places(column_groups)
    shared = [group for group in rows if group in columns]
    if len(shared) < size:
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_draws):
        chosen = [shared[place] for place in rng.choice(len(shared), size, replace=False)]
        pairs = [[rng.choice(rows[group]), rng.choice(columns[group])] for group in chosen]
        found.append(mutual_nearest(scores[np.ix_(*np.transpose(pairs))]).mean())
    return Mexa(float(np.mean(found)), float(np.std(found)), size, num_draws)


def _places(groups: Sequence[Any]) -> dict[Any, list[int]]:
    found: dict[Any, list[int]] = {}
    for place, group in enumerate(groups):
        found.setdefault(group, []).append(place)
    return found
