"""Acoustic token distribution similarity (ATDS): how alike the frequent sound sequences of two languages are.

After San et al., "Predicting positive transfer for improved low-resource speech recognition using acoustic
pseudo-tokens" (2024): frames of all languages are clustered, each run of one cluster is a unit, frequent sequences of
units are joined to tokens over all languages together, and languages are compared by the cosine of their token counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.donors.frames import Floats, FrameFeatures, clip_frames
from signwave import command
from signwave.command import Failure
from signwave.errors import UserError
from signwave.manifest import Clip

Units = NDArray[np.int64]

NUM_CLUSTERS = 200
NUM_TOKENS = 2000
MAX_HOURS = 5.0
_FRAMES_PER_CLUSTER = 256
_NUM_ITERATIONS = 20
_SEED = 1


@dataclass(frozen=True)
class Heard:
    """Recordings of one language as sequences of frames.

    Attributes:
        frames: one (T, D) float32 per piece of at most 15 s.
        failures: clips that can't be read.
        seconds: of the clips that were taken.
    """

    frames: list[Floats] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


def hear(clips: Sequence[Clip], features: FrameFeatures, *, max_hours: float = MAX_HOURS, quiet: bool = True) -> Heard:
    """Compute the frames of an even sample of a language's clips.

    Args:
        clips: of one language.
        features: what a frame is.
        max_hours: stop there; as much of every language makes token counts comparable.
        quiet: no progress on stderr.
    """
    order = np.random.default_rng(_SEED).permutation(len(clips))
    frames: list[Floats] = []
    failures: list[Failure] = []
    seconds = 0.0
    for place in command.progress(order.tolist(), "listening", quiet=quiet):
        if seconds >= 3600 * max_hours:
            break
        try:
            frames += list(clip_frames(clips[place], features))
        except UserError as error:
            failures.append(Failure.of(clips[place].path, error))
            continue
        seconds += clips[place].duration_seconds or 0.0
    return Heard(frames, failures, seconds)


def similarities(
    heard: Mapping[str, Sequence[Floats]],
    target: str,
    *,
    num_clusters: int = NUM_CLUSTERS,
    num_tokens: int = NUM_TOKENS,
) -> dict[str, float]:
    """ATDS of every language to the target, which itself has 1.

    Args:
        heard: by language, pieces (T, D) float32.
        target: one of them.
        num_clusters: kinds of sound; fewer where there are too few frames for so many.
        num_tokens: size of the token vocabulary, units included.

    Returns:
        cosine in [0, 1] by language; languages in which nothing was heard are left out.

    Raises:
        UserError: nothing was heard of the target.
    """
    heard = {language: pieces for language, pieces in heard.items() if any(len(piece) for piece in pieces)}
    if target not in heard:
        raise UserError(f"nothing can be heard in the recordings of the target language '{target}'; check its manifest")
    units = _units(heard, num_clusters)
    tokens = join_units([line for lines in units.values() for line in lines], num_tokens=num_tokens)
    lines = iter(tokens)
    counts = {language: Counter(int(t) for _ in own for t in next(lines)) for language, own in units.items()}
    return {language: cosine(counts[target], own) for language, own in counts.items()}


def _units(heard: Mapping[str, Sequence[Floats]], num_clusters: int) -> dict[str, list[Units]]:
    """Cluster the frames of all languages, as many of each, and write every run of one cluster once."""
    from scipy.cluster.vq import kmeans2, vq

    pools = {language: np.concatenate([p for p in pieces if len(p)]) for language, pieces in heard.items()}
    fewest = min(len(pool) for pool in pools.values())
    share = min(fewest, -(-_FRAMES_PER_CLUSTER * num_clusters // len(pools)))
    rng = np.random.default_rng(_SEED)
    sample = np.concatenate([pool[np.sort(rng.permutation(len(pool))[:share])] for pool in pools.values()])
    count = max(1, min(num_clusters, len(sample) // 4))
    means, _ = kmeans2(sample, count, iter=_NUM_ITERATIONS, minit="++", seed=_SEED)
    return {
        language: [_runs(vq(p, means, check_finite=False)[0]) for p in pieces if len(p)]
        for language, pieces in heard.items()
    }


def _runs(clusters: NDArray[np.int64]) -> Units:
    changes = np.flatnonzero(np.diff(clusters, prepend=-1))
    return clusters[changes].astype(np.int64)


def join_units(lines: Sequence[Units], *, num_tokens: int) -> list[Units]:
    """Byte-pair merging of unit sequences: the most frequent pair becomes a token, again and again.

    Args:
        lines: sequences of units; no pair crosses their ends.
        num_tokens: stop at so many different tokens, or where no pair comes twice.

    Returns:
        the sequences in tokens; new tokens have the ids after the highest unit. Of equally frequent pairs the lowest is
        joined.
    """
    if not lines:
        return []
    end = np.array([-1], dtype=np.int64)
    joined = np.concatenate([part for line in lines for part in (line, end)])
    num_units = len(np.unique(joined[joined >= 0]))
    following = int(joined.max()) + 1
    for token in range(following, following + max(0, num_tokens - num_units)):
        pair = _best_pair(joined, token)
        if pair is None:
            break
        joined = _merged(joined, pair, token)
    ends = np.flatnonzero(joined == -1).tolist()
    return [joined[start:stop] for start, stop in zip([0, *(end + 1 for end in ends)], ends, strict=False)]


def _best_pair(joined: Units, limit: int) -> tuple[int, int] | None:
    left, right = joined[:-1], joined[1:]
    inside = (left >= 0) & (right >= 0)
    counts = np.bincount(left[inside] * limit + right[inside], minlength=1)
    best = int(counts.argmax())
    return divmod(best, limit) if counts[best] >= 2 else None


def _merged(joined: Units, pair: tuple[int, int], token: int) -> Units:
    """Replace a pair from left to right; in a run of one unit every second place starts a pair."""
    starts = np.flatnonzero((joined[:-1] == pair[0]) & (joined[1:] == pair[1]))
    if pair[0] == pair[1] and len(starts):
        first_of_run = np.concatenate([[True], np.diff(starts) > 1])
        run_start = starts[np.flatnonzero(first_of_run)[np.cumsum(first_of_run) - 1]]
        starts = starts[(starts - run_start) % 2 == 0]
    joined = joined.copy()
    joined[starts] = token
    return np.delete(joined, starts + 1)


def cosine(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    """Cosine of two vectors of counts.

    >>> round(cosine({1: 3, 2: 4}, {2: 1}), 3)
    0.8
    """
    dot = sum(count * other.get(token, 0) for token, count in one.items())
    norms = np.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))
    return float(min(1.0, dot / norms)) if norms else 0.0
