"""Choosing, from a pool of unlabelled recordings, those that are closest to a target domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.similar_index import ClipIndex, Embedded
from asr.similar_sound import Floats
from asr.similarity import table
from signwave.errors import UserError
from signwave.manifest import Clip

NUM_NEAREST = 10
_BLOCK = 1024


class Choice(NamedTuple):
    """A clip of the pool and how close it is.

    id, path: of the clip.
    score: mean cosine to the nearest clips of the reference, in [-1, 1].
    best_score: cosine to the nearest one.
    nearest_id: that one's id.
    seconds: length of the clip.
    is_chosen: True if it was taken.
    """

    id: str
    path: str
    score: float
    best_score: float
    nearest_id: str
    seconds: float
    is_chosen: bool


@dataclass(frozen=True)
class Nearest:
    """What `nearest_to` chose.

    Attributes:
        clips: the chosen clips, closest first.
        choices: every clip of the pool that could be heard, closest first.
        pool: the pool, with failures.
        reference: the reference, with failures.
    """

    clips: list[Clip]
    choices: list[Choice]
    pool: Embedded
    reference: Embedded


def nearest_to(
    index: ClipIndex,
    pool: Sequence[Clip],
    reference: Sequence[Clip],
    *,
    num_hours: float | None = None,
    k: int | None = None,
    num_nearest: int = NUM_NEAREST,
    quiet: bool = True,
) -> Nearest:
    """Choose the clips of a pool that are closest to a target domain.

    Vectors are centred and scaled by the mean and spread of pool and reference together, so that what all recordings
    share does not count; the score of a clip is its mean cosine to the `num_nearest` closest clips of the reference.

    Args:
        index: of an embedder with one window a clip; clips it doesn't hold yet are added.
        pool: unlabelled recordings.
        reference: recordings of the target domain.
        num_hours: take clips until the next one would exceed so much; this or `k`.
        k: take so many clips.
        num_nearest: clips of the reference that count.
        quiet: no progress on stderr.

    Raises:
        UserError: no clip of the reference can be heard.
    """
    if (num_hours is None) == (k is None):
        raise UserError("give either a number of hours or a number of clips to choose")
    of_pool, of_reference = index.embed(pool, quiet=quiet), index.embed(reference, quiet=quiet)
    vectors, lengths = _vectors(index, of_pool)
    targets, _ = _vectors(index, of_reference)
    if not targets:
        raise UserError(
            f"none of the {len(reference)} clips of the reference can be heard; the first problem: "
            f"{of_reference.failures[0].message if of_reference.failures else 'they are silent'}"
        )
    if not vectors:
        return Nearest([], [], of_pool, of_reference)
    scaled, targets_scaled = _standardised(np.stack(list(vectors.values())), np.stack(list(targets.values())))
    means, best, places = _closeness(scaled, targets_scaled, num_nearest)
    order = np.lexsort((np.array([pool[place].id for place in vectors]), -means))
    pool_places, reference_places = list(vectors), list(targets)
    choices: list[Choice] = []
    clips: list[Clip] = []
    taken = 0.0
    limit = np.inf if num_hours is None else num_hours * 3600
    for place in order:
        clip, seconds = pool[pool_places[place]], lengths[pool_places[place]]
        is_chosen = taken + seconds <= limit and (k is None or len(clips) < k)
        if is_chosen:
            clips.append(clip)
            taken += seconds
        nearest_id = reference[reference_places[places[place]]].id
        choices.append(
            Choice(clip.id, clip.path, float(means[place]), float(best[place]), nearest_id, seconds, is_chosen)
        )
    return Nearest(clips, choices, of_pool, of_reference)


def _vectors(index: ClipIndex, embedded: Embedded) -> tuple[dict[int, Floats], dict[int, float]]:
    """Vector and length in seconds of each clip that could be heard, by its place."""
    vectors, lengths = {}, {}
    for place, stamp in enumerate(embedded.stamps):
        for window in index.windows(stamp):
            vectors[place] = index.vector(window)
            lengths[place] = index.seconds(stamp)
    return vectors, lengths


def _standardised(pool: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Both with the mean and spread of all taken out, to unit length."""
    together = np.concatenate([pool, reference]).astype(np.float64)
    mean, spread = together.mean(axis=0), together.std(axis=0)
    spread = np.where(spread > 1e-6 * max(1.0, float(np.abs(mean).max())), spread, np.inf)  # what never varies is out
    scaled = (together - mean) / spread
    unit = (scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return unit[: len(pool)], unit[len(pool) :]


def _closeness(
    pool: Floats, reference: Floats, num_nearest: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Mean cosine to the nearest, highest cosine, and the place of the nearest: (N,) each."""
    count = min(num_nearest, len(reference))
    means, best, places = [], [], []
    for start in range(0, len(pool), _BLOCK):
        cosines = pool[start : start + _BLOCK] @ reference.T
        top = np.partition(cosines, len(reference) - count, axis=1)[:, len(reference) - count :]
        means.append(top.mean(axis=1))
        best.append(cosines.max(axis=1))
        places.append(cosines.argmax(axis=1))
    return np.concatenate(means), np.concatenate(best), np.concatenate(places)


def choices_table(choices: Sequence[Choice]) -> str:
    """Every clip of the pool with its scores, as tab-separated text with a header."""
    return table(Choice._fields, choices)
