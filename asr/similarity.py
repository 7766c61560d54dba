"""Near-duplicates among recordings: pairs with a score, where the copies lie, and how much is shared.

Stage 1 asks the index for the nearest windows of each window; stage 2 slides the two windows over each other
(`asr.similar_sound`). Windows of a pair that agree on the time between the recordings are counted together, so a short
clip is found inside an hour of radio, and a shared jingle is told from a copy.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.similar_index import ClipIndex, Embedded
from asr.similar_sound import best_alignments
from signwave import command
from signwave.manifest import Clip
from signwave.rundir import atomic_write

THRESHOLD = 0.8
"""Score from which two clips are near-duplicates; docs/similar_audio.md has the measurement."""

_NUM_CANDIDATES = 40
_MIN_COSINE = 0.5  # nearly all copies lie above it, and the slow second stage is spared the rest
_AROUND_SECONDS = 0.75
_SAME_LAG_SECONDS = 0.25
_BATCH = 256


class Pair(NamedTuple):
    """Two clips that share sound.

    id, other_id: of the clips.
    score: of the best windows, up to 1.
    cosine: of the same windows in stage 1.
    offset_seconds: a time in the other clip minus the time of the same sound in this one.
    shared_seconds: length of the windows of this clip that were found at about this offset.
    start_seconds: in this clip, of the first such window.
    """

    id: str
    other_id: str
    score: float
    cosine: float
    offset_seconds: float
    shared_seconds: float
    start_seconds: float


@dataclass(frozen=True)
class Duplicates:
    """What `find_near_duplicates` found.

    Attributes:
        pairs: best first.
        embedded: the clips themselves, with failures.
        against: the other side, or None if the clips were compared with each other.
    """

    pairs: list[Pair]
    embedded: Embedded
    against: Embedded | None


class _WindowMatch(NamedTuple):
    score: float
    cosine: float
    offset_seconds: float
    start_seconds: float
    end_seconds: float


def find_near_duplicates(
    index: ClipIndex,
    clips: Sequence[Clip],
    *,
    against: Sequence[Clip] | None = None,
    threshold: float = THRESHOLD,
    quiet: bool = True,
) -> Duplicates:
    """Find clips that are copies of others, whole or in part.

    Args:
        index: of an embedder with tokens (`Fingerprint`); clips it doesn't hold yet are added.
        clips: what is looked for.
        against: where it is looked for (test sets, say); None compares the clips with each other.
        threshold: lowest score of a pair.
        quiet: no progress on stderr.

    Returns:
        Every pair once; clips that name the very same span of a file are a pair of score 1.
    """
    mine = index.embed(clips, quiet=quiet)
    theirs = None if against is None else index.embed(against, quiet=quiet)
    names, other_names = _ids_by_stamp(mine), _ids_by_stamp(theirs or mine)
    found = _matches(index, list(names), set(other_names), threshold, quiet=quiet)
    best: dict[tuple[str, str], Pair] = {}
    for (stamp, other_stamp), matches in found.items():
        for id_, other in itertools.product(names[stamp], other_names[other_stamp]):
            _keep_better(best, _pair(id_, other, matches), ordered=theirs is None)
    for stamp in names.keys() & other_names.keys():
        for id_, other in itertools.product(names[stamp], other_names[stamp]):
            if theirs is not None or id_ < other:
                _keep_better(best, _whole(index, stamp, id_, other), ordered=theirs is None)
    pairs = sorted(best.values(), key=lambda pair: (-pair.score, pair.id, pair.other_id))
    return Duplicates(pairs, mine, theirs)


def _ids_by_stamp(embedded: Embedded) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for clip, stamp in zip(embedded.clips, embedded.stamps, strict=True):
        if stamp:
            names.setdefault(stamp, []).append(clip.id)
    return names


def _matches(
    index: ClipIndex, stamps: Sequence[str], wanted: set[str], threshold: float, *, quiet: bool
) -> dict[tuple[str, str], list[_WindowMatch]]:
    """Windows of each pair of recordings that lie on each other."""
    windows = [window for stamp in stamps for window in index.windows(stamp)]
    where = None if wanted >= index.stamps else {"stamp": sorted(wanted)}
    found: dict[tuple[str, str], list[_WindowMatch]] = {}
    steps = [windows[start : start + _BATCH] for start in range(0, len(windows), _BATCH)]
    for some in command.progress(steps, "comparing", quiet=quiet):
        queries = np.stack([index.vector(window) for window in some])
        hits = index.index.search(queries, _NUM_CANDIDATES, where=where)
        for window, others, cosines in zip(some, hits.ids.tolist(), hits.scores.tolist(), strict=True):
            mine = index.stamp(window)
            near = [
                (other, cosine)
                for other, cosine in zip(others, cosines, strict=True)
                if other and cosine >= _MIN_COSINE and index.stamp(other) != mine
            ]
            for other, match in _placed(index, window, near):
                if match.score >= threshold:
                    found.setdefault((mine, index.stamp(other)), []).append(match)
    return found


def _placed(index: ClipIndex, window: str, near: Sequence[tuple[str, float]]) -> Iterator[tuple[str, _WindowMatch]]:
    """Lay windows on each other: that of the shorter recording on the surroundings of that of the longer one."""
    mine, seconds = index.span(window), index.seconds(index.stamp(window))
    within_mine = [(other, cosine) for other, cosine in near if index.seconds(index.stamp(other)) < seconds]
    within_theirs = [(other, cosine) for other, cosine in near if index.seconds(index.stamp(other)) >= seconds]
    around = [index.surroundings(other, _AROUND_SECONDS) for other, _ in within_theirs]
    matches = best_alignments(index.tokens(window), [stretch for _, stretch in around]) if around else []
    for (other, cosine), match, (start, _) in zip(within_theirs, matches, around, strict=True):
        yield other, _WindowMatch(match.score, cosine, start + match.lag_seconds - mine[0], *mine)
    if within_mine:
        start, stretch = index.surroundings(window, _AROUND_SECONDS)
        for other, cosine in within_mine:
            (match,) = best_alignments(index.tokens(other), [stretch])
            theirs = index.span(other)
            offset = theirs[0] - (start + match.lag_seconds)
            yield other, _WindowMatch(match.score, cosine, offset, theirs[0] - offset, theirs[1] - offset)


def _pair(id_: str, other: str, matches: Sequence[_WindowMatch]) -> Pair:
    best = max(matches)
    agreeing = [m for m in matches if abs(m.offset_seconds - best.offset_seconds) <= _SAME_LAG_SECONDS]
    return Pair(
        id_,
        other,
        best.score,
        best.cosine,
        best.offset_seconds,
        _covered_seconds((m.start_seconds, m.end_seconds) for m in agreeing),
        min(m.start_seconds for m in agreeing),
    )


def _covered_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of half-open spans."""
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _whole(index: ClipIndex, stamp: str, id_: str, other: str) -> Pair:
    """Two clips that name the same span of the same file."""
    seconds = _covered_seconds(index.span(window) for window in index.windows(stamp))
    return Pair(id_, other, 1.0, 1.0, 0.0, seconds, 0.0)


def _keep_better(best: dict[tuple[str, str], Pair], pair: Pair, *, ordered: bool) -> None:
    """Keep the better of two findings of the same pair, which within one manifest may come in either order."""
    key = (pair.id, pair.other_id)
    if ordered and pair.id > pair.other_id:
        start = pair.start_seconds + pair.offset_seconds
        turned = {"offset_seconds": -pair.offset_seconds, "start_seconds": max(0.0, start)}
        pair = pair._replace(id=pair.other_id, other_id=pair.id, **turned)
        key = (pair.id, pair.other_id)
    if key not in best or (pair.score, pair.shared_seconds) > (best[key].score, best[key].shared_seconds):
        best[key] = pair


def pairs_table(pairs: Sequence[Pair]) -> str:
    """Pairs as tab-separated text with a header; every score is kept."""
    return table(Pair._fields, pairs)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Tab-separated text; numbers with four decimals."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in row])
    return file.getvalue()


def write_pairs(path: str | Path, pairs: Sequence[Pair]) -> None:
    """Write the table; a half-written file never has the name."""
    atomic_write(path, pairs_table(pairs))
