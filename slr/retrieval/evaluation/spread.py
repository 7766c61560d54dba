"""How evenly query languages are served: the spread of the ranks of one instance over languages (MRV)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from signwave import metrics
from signwave.metrics import RankSpread
from slr.retrieval.evaluation.score_matrix import ScoreMatrix


def language_spread(matrix: ScoreMatrix, languages: Sequence[str]) -> dict[str, RankSpread]:
    """MRV over the groups that have clips and a text in every language; clips rank the texts of those groups."""
    rows = [[place for place, text in enumerate(matrix.texts) if text.key == key] for key in languages]
    shared = {clip.group for clip in matrix.clips}.intersection(
        *({matrix.texts[place].group for place in places} for places in rows)
    )
    if len(languages) < 2 or not shared:
        return {}
    clip_groups = [clip.group for clip in matrix.clips]
    columns = [place for place, group in enumerate(clip_groups) if group in shared]
    asked = [clip_groups[place] for place in columns]
    by_text, by_clip = [], []
    for places in rows:
        kept = [place for place in places if matrix.texts[place].group in shared]
        groups = [matrix.texts[place].group for place in kept]
        scores = matrix.scores[kept]
        found = metrics.rank_queries(scores, query_groups=groups, gallery_groups=clip_groups, by_group=True)
        by_text.append(_mean_by_group(found.expected, groups))
        found = metrics.rank_queries(scores[:, columns].T, query_groups=asked, gallery_groups=groups, by_group=True)
        by_clip.append(found.expected)
    return {
        "text_to_video": metrics.mean_rank_variance(by_text),
        "video_to_text": metrics.mean_rank_variance(by_clip),
    }


def _mean_by_group(values: NDArray[np.float64], groups: Sequence[str]) -> list[float]:
    """Mean of the values of each group, in the order of the groups' names."""
    members: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(float(value))
    return [float(np.mean(members[group])) for group in sorted(members)]
