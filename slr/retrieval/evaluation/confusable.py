"""Does a system know signs, or only topics? The right clip among those that look most like it.

Recall over a whole gallery hides shortcuts: most clips of a gallery are about something else. Here each clip stands
among its nearest ones of other groups (the 41-way test in the manner of SAN's visually confusable negatives).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.metrics import Ranks

NUM_RIVALS = 40


def rank_rivals(
    scores: NDArray[Any],
    *,
    text_groups: Sequence[str],
    clip_groups: Sequence[str],
    nearness: NDArray[Any],
    num_rivals: int = NUM_RIVALS,
) -> Ranks | None:
    """Rank each clip and its rivals for a text of its group.

    Args:
        scores: (T, C) float.
        text_groups: (T,) group of each text; the first text of a group asks.
        clip_groups: (C,) group of each clip.
        nearness: (C, C) float, how alike clips look, higher is nearer. It should come from elsewhere than the scores:
            poses, or another encoder.
        num_rivals: nearest clips of other groups that stand beside a clip.

    Returns:
        Ranks of the clips whose group has a text and that have so many rivals; None if there is no such clip.
    """
    row_of: dict[str, int] = {}
    for row, group in enumerate(text_groups):
        row_of.setdefault(group, row)
    numbers = np.unique(np.array(clip_groups), return_inverse=True)[1]
    above, tied = [], []
    for clip, group in enumerate(clip_groups):
        others = np.flatnonzero(numbers != numbers[clip])
        if group not in row_of or len(others) < num_rivals:
            continue
        rivals = others[np.argsort(-nearness[clip, others], kind="stable")[:num_rivals]]
        values, own = scores[row_of[group], rivals], scores[row_of[group], clip]
        above.append(int((values > own).sum()))
        tied.append(1 + int((values == own).sum()))
    if not above:
        return None
    return Ranks(np.array(above), np.array(tied), np.ones(len(above), dtype=np.int64), num_rivals + 1)
