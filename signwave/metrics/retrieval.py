"""Retrieval metrics from scores and groups: Recall@K, ranks, MRR, and how evenly languages are served.

Items of one group belong together (performances and captions of one sentence). A query is answered by the best item of
its group. Ties are counted as their expected value over all orders: a model that scores everything alike gets chance,
not 1.0 and not 0.0.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signwave.metrics.ranks import Ranks

ScoreBlock = Callable[[int, int], NDArray[np.floating[Any]]]
"""Scores of queries [start, stop) against the entire gallery: (stop - start, G)."""

_BLOCK_ELEMENTS = 1 << 22  # scores looked at together: 16 MB of float32


def rank_queries(
    scores: NDArray[np.floating[Any]] | ScoreBlock,
    *,
    query_groups: Sequence[Any],
    gallery_groups: Sequence[Any],
    by_group: bool = False,
) -> Ranks:
    """Rank the gallery for every query and find the first relevant item.

    Args:
        scores: (Q, G) float, higher is better, may be memory-mapped; or a function of (start, stop) that computes the
            rows of a block, so that the entire matrix never exists (see `dot_scores`). -inf is allowed, NaN is not.
        query_groups: (Q,) group of each query. Each must be in the gallery.
        gallery_groups: (G,) group of each gallery item.
        by_group: rank groups instead of items; a group's score is that of its best item.
    """
    wanted, groups = _number_groups(query_groups, gallery_groups)
    block_of = _block_function(scores, len(wanted), len(groups))
    if by_group:
        block_of, groups = _grouped_block(block_of, groups)
    step = max(1, _BLOCK_ELEMENTS // len(groups))
    found = []
    for start in range(0, len(wanted), step):
        stop = min(start + step, len(wanted))
        found.append(_rank_block(_checked(block_of(start, stop), start), wanted[start:stop], groups))
    above, tied, relevant = np.concatenate(found, axis=1)
    return Ranks(above, tied, relevant, len(groups))


def chance(*, query_groups: Sequence[Any], gallery_groups: Sequence[Any], by_group: bool = False) -> Ranks:
    """What a random order gives: the arguments are those of `rank_queries`, without scores."""
    num_gallery = len(gallery_groups)
    return rank_queries(
        lambda start, stop: np.zeros((stop - start, num_gallery), dtype=np.float32),
        query_groups=query_groups,
        gallery_groups=gallery_groups,
        by_group=by_group,
    )


def dot_scores(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> ScoreBlock:
    """Scores as dot products, a block at a time.

    Args:
        queries: (Q, D) float32.
        gallery: (G, D) float32.
    """
    return lambda start, stop: queries[start:stop] @ gallery.T


def best_of_groups(scores: NDArray[Any], groups: Sequence[Any]) -> tuple[NDArray[Any], list[Any]]:
    """Scores of groups instead of items: the highest of each group's columns.

    Args:
        scores: (Q, G) float.
        groups: (G,) group of each column.

    Returns:
        (Q, number of groups), and the groups in the order of their first column.
    """
    numbers, _ = _number_groups(groups, groups)
    block_of, _ = _grouped_block(_block_function(scores, len(scores), len(numbers)), numbers)
    return block_of(0, len(scores)), list(dict.fromkeys(groups))


class TwoWay(NamedTuple):
    """Retrieval in both directions between texts and videos."""

    text_to_video: Ranks
    video_to_text: Ranks


def rank_both_ways(
    scores: NDArray[np.floating[Any]],
    *,
    text_groups: Sequence[Any],
    video_groups: Sequence[Any],
    by_group: bool = True,
) -> TwoWay:
    """Text to video and video to text.

    Args:
        scores: (number of texts, number of videos) float, higher is better.
        text_groups: group of each text.
        video_groups: group of each video.
        by_group: the usual protocol of sign-video retrieval: each text (video) ranks groups of videos (texts), a
            group's score is its maximum. False ranks single items.
    """
    return TwoWay(
        rank_queries(scores, query_groups=text_groups, gallery_groups=video_groups, by_group=by_group),
        rank_queries(scores.T, query_groups=video_groups, gallery_groups=text_groups, by_group=by_group),
    )


def caption_ceiling(captions: Sequence[str], groups: Sequence[Any], *, query_groups: Sequence[Any] = ()) -> Ranks:
    """What a perfect model can reach: groups whose captions are the same text can't be told apart.

    Args:
        captions: (N,) text of each group's caption; compared as they are, so normalise them as the model does.
        groups: (N,) group of each caption, each group once.
        query_groups: group of each query; empty: one query a group. Video-to-text counts a group once a video.
    """
    if len(captions) != len(groups) or len(set(groups)) != len(groups):
        raise ValueError(f"need one caption a group, got {len(captions)} captions, {len(set(groups))} groups")
    same: dict[str, int] = {}
    for caption in captions:
        same[caption] = same.get(caption, 0) + 1
    num_same = {group: same[caption] for group, caption in zip(groups, captions, strict=True)}
    tied = np.array([num_same[group] for group in (query_groups if len(query_groups) else groups)], dtype=np.int64)
    return Ranks(np.zeros_like(tied), tied, np.ones_like(tied), len(groups))


class RankSpread(NamedTuple):
    """How much the rank of one instance differs between query languages, averaged over instances; 0 is even.

    Published "mean rank variance" figures are `mrv_std`. Both grow with the gallery and are ruled by the worst ranks,
    so a median and a clipped version stand beside them.
    """

    mrv_std: float
    mrv_var: float
    median_std: float
    clipped_std: float
    clip_rank: int
    num_languages: int
    num_instances: int


def mean_rank_variance(ranks: ArrayLike, *, clip_rank: int = 100) -> RankSpread:
    """Spread of ranks over languages, population formula.

    Args:
        ranks: (number of languages, N) rank of each instance by each language (0-based or 1-based alike).
        clip_rank: ranks above count as this one in `clipped_std`.
    """
    table = np.asarray(ranks, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) == 0 or not np.isfinite(table).all():
        raise ValueError(f"ranks must be finite, (number of languages, instances), got shape {table.shape}")
    deviation = table.std(axis=0)
    clipped = np.minimum(table, clip_rank).std(axis=0)
    return RankSpread(
        float(deviation.mean()),
        float((deviation**2).mean()),
        float(np.median(deviation)),
        float(clipped.mean()),
        clip_rank,
        *table.shape,
    )


def _number_groups(
    query_groups: Sequence[Any], gallery_groups: Sequence[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    numbers: dict[Any, int] = {}
    gallery = np.array([numbers.setdefault(_plain(group), len(numbers)) for group in gallery_groups], dtype=np.int64)
    if not len(gallery) or not len(query_groups):
        raise ValueError(f"need queries and a gallery, got {len(query_groups)} and {len(gallery)} items")
    missing = [group for group in query_groups if _plain(group) not in numbers]
    if missing:
        raise ValueError(
            f"{len(missing)} queries have no relevant item in the gallery, the first of group {missing[0]!r}; drop them"
        )
    return np.array([numbers[_plain(group)] for group in query_groups], dtype=np.int64), gallery


def _plain(group: Any) -> Any:
    return group.item() if isinstance(group, np.generic) else group


def _block_function(scores: NDArray[np.floating[Any]] | ScoreBlock, num_queries: int, num_gallery: int) -> ScoreBlock:
    if not isinstance(scores, np.ndarray):
        return scores
    if scores.shape != (num_queries, num_gallery):
        raise ValueError(f"scores must be ({num_queries}, {num_gallery}) for these groups, got {scores.shape}")
    return lambda start, stop: scores[start:stop]


def _grouped_block(block_of: ScoreBlock, groups: NDArray[np.int64]) -> tuple[ScoreBlock, NDArray[np.int64]]:
    """The same scores with the columns of each group replaced by their maximum."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    # np.maximum passes NaN on, so the check for NaN still sees it.
    return (lambda start, stop: np.maximum.reduceat(block_of(start, stop)[:, order], starts, axis=1)), present


def _checked(block: NDArray[np.floating[Any]], start: int) -> NDArray[np.floating[Any]]:
    bad = np.isnan(block)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"scores hold {int(bad.sum())} NaN, the first for query {start + row}, gallery item {column}; "
            "a NaN has no rank: mend the model, or use -inf for pairs that must not be found"
        )
    return block


def _rank_block(
    block: NDArray[np.floating[Any]], wanted: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(3, rows of the block) int64: items above, tied, tied and relevant."""
    relevant = wanted[:, None] == groups[None, :]
    best = np.where(relevant, block, -np.inf).max(axis=1, keepdims=True)
    tied = block == best
    counts = [(block > best).sum(axis=1), tied.sum(axis=1), (tied & relevant).sum(axis=1)]
    return np.stack(counts).astype(np.int64)
