"""From the best path of a clip to its segments: growth over blanks, steps to frames, least length, blanks between."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.ctc import Alignment
from slr.crosslingual.segments import BLANK_GLOSS, Segment
from slr.decoding import grow_spans

Spans = list[tuple[int, int]]
_NOTHING = np.zeros(1, dtype=np.float32)


@dataclass(frozen=True)
class Cutting:
    """How segments are cut.

    Attributes:
        grow: widen them over blanks while their gloss is the likeliest besides the blank.
        min_frames: shorter ones are widened about their middle, where the neighbours leave room; five frames for a
            single step of four is what the dictionaries of Zuo et al. (EMNLP 2024) have.
        min_blank_steps: runs of as many blanks become a segment of their own; 0 makes none.
        prior_alpha: power of the label priors that posteriors are divided by before alignment; 0 for none.
        star_penalty: nats a step for a gloss that the model doesn't know.
    """

    grow: bool = True
    min_frames: int = 5
    min_blank_steps: int = 2
    prior_alpha: float = 0.0
    star_penalty: float = 0.5


class Geometry(NamedTuple):
    """Where steps lie in a clip.

    stride: frames per step.
    edge_frames: where step 0 begins.
    num_frames: of the clip, at the model's rate.
    """

    stride: int
    edge_frames: float
    num_frames: int


class Uncut(NamedTuple):
    """A clip whose glosses lie on steps.

    clip: its id.
    glosses: as many as the alignment has.
    alignment: of them, with a wildcard for each that the model doesn't know.
    blank: (T,) float32 in [0, 1], posterior of the blank at each step.
    rivals: (T,) int64, the likeliest token of each step besides the blank; 0 where there is no other.
    geometry: where its steps lie.
    """

    clip: str
    glosses: Sequence[str]
    alignment: Alignment
    blank: NDArray[np.float32]
    rivals: NDArray[np.int64]
    geometry: Geometry


def widen(spans: Sequence[tuple[int, int]], *, min_frames: int, num_frames: int) -> Spans:
    """Give short spans frames on both sides, without touching their neighbours.

    A span at the start or the end of a clip gets what is missing on its other side.

    Args:
        spans: half-open frames, rising, not overlapping.
        min_frames: length that each should have.
        num_frames: of the clip.
    """
    found: Spans = []
    for place, (start, end) in enumerate(spans):
        floor = found[-1][1] if found else 0
        ceiling = spans[place + 1][0] if place + 1 < len(spans) else num_frames
        missing = min_frames - (end - start)
        found.append(_widened(start, end, missing, floor, ceiling) if missing > 0 else (start, end))
    return found


def _widened(start: int, end: int, missing: int, floor: int, ceiling: int) -> tuple[int, int]:
    before = min(missing // 2, start - floor)
    after = min(missing - before, ceiling - end)
    before = min(missing - after, start - floor)
    return start - before, end + after


def cut(
    alignment: Alignment,
    posteriors: NDArray[np.float32],
    glosses: Sequence[str],
    geometry: Geometry,
    *,
    corpus: str,
    clip: str,
    cutting: Cutting,
) -> list[Segment]:
    """Segments of one clip, by time.

    Args:
        alignment: of its glosses, with a wildcard for each that the model doesn't know.
        posteriors: (T, V) float32 in [0, 1], what was aligned.
        glosses: of the clip, as many as the alignment has.
        geometry: where its steps lie.
        corpus: name of the corpus.
        clip: id of the clip.
        cutting: how to cut.
    """
    rivals = posteriors[:, 1:].argmax(1) + 1 if posteriors.shape[1] > 1 else np.zeros(len(posteriors), dtype=np.int64)
    return cut_all(
        [Uncut(clip, glosses, alignment, posteriors[:, 0], rivals, geometry)], corpus=corpus, cutting=cutting
    )[0]


def cut_all(clips: Sequence[Uncut], *, corpus: str, cutting: Cutting) -> list[list[Segment]]:
    """Segments of each clip, by time; a batch costs little more than a clip.

    Args:
        clips: what was aligned.
        corpus: name of the corpus.
        cutting: how to cut.
    """
    if not clips:
        return []
    line = _Line(clips)
    steps = line.steps()
    grown = line.grown(steps) if cutting.grow else steps
    spans = line.frames(grown, line.owners).tolist()
    wide: Spans = []
    for clip, first, stop in zip(clips, line.firsts, line.firsts[1:]):
        wide += widen(spans[first:stop], min_frames=cutting.min_frames, num_frames=clip.geometry.num_frames)
    alignments = [clip.alignment for clip in clips]
    signs = map(
        Segment,
        itertools.repeat(corpus),
        (clip.clip for clip in clips for _ in clip.glosses),
        itertools.chain.from_iterable(range(len(clip.glosses)) for clip in clips),
        itertools.chain.from_iterable(clip.glosses for clip in clips),
        (start for start, _ in wide),
        (end for _, end in wide),
        itertools.chain.from_iterable(found.mean_posteriors for found in alignments),
        itertools.chain.from_iterable(found.min_posteriors for found in alignments),
        (grown != steps).any(1).tolist(),
        (steps[:, 1] - steps[:, 0]).tolist(),
        (token > 0 for found in alignments for token in found.tokens),
    )
    blanks = line.blanks(grown, wide, corpus, cutting.min_blank_steps) if cutting.min_blank_steps else {}
    cuts: list[list[Segment]] = []
    gap = 0
    for clip in clips:
        rows: list[Segment] = []
        for place in range(len(clip.glosses) + 1):
            if gap in blanks:
                rows.append(blanks[gap])
            if place < len(clip.glosses):
                rows.append(next(signs))
            gap += 1
        cuts.append(rows)
    return cuts


class _Line:
    """The steps of clips behind each other, with a step of nothing after each, across which nothing grows.

    M spans of C clips are (M, 2) int64, steps or frames of their own clip. Between them lie M + C gaps: one before each
    span and one after the last of each clip.
    """

    def __init__(self, clips: Sequence[Uncut]) -> None:
        self.clips = clips
        counts = [len(clip.glosses) for clip in clips]
        self.firsts = [0, *itertools.accumulate(counts)]
        self.owners = np.repeat(np.arange(len(clips)), counts)
        self.gap_owners = np.repeat(np.arange(len(clips)), [count + 1 for count in counts])
        self.num_steps = np.asarray([len(clip.blank) for clip in clips])
        self.offsets = np.cumsum(self.num_steps + 1) - self.num_steps - 1
        self.geometry = np.asarray([clip.geometry for clip in clips], dtype=np.float64)

    def steps(self) -> NDArray[np.int64]:
        """(M, 2) int64, spans as they were aligned."""
        spans = [span for clip in self.clips for span in clip.alignment.steps]
        return np.asarray(spans, dtype=np.int64).reshape(-1, 2)

    def grown(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """(M, 2) int64, spans grown over blanks."""
        tokens = [token for clip in self.clips for token in clip.alignment.tokens]
        rivals = np.concatenate([part for clip in self.clips for part in (clip.rivals, [0])])
        offsets = self.offsets[self.owners, None]
        spans = grow_spans((steps + offsets).tolist(), tokens, rivals)
        found: NDArray[np.int64] = np.asarray(spans, dtype=np.int64).reshape(-1, 2) - offsets
        return found

    def frames(self, steps: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames where steps begin, inside their clips."""
        stride, edge, size = self.geometry[owners].T[..., None]
        found: NDArray[np.int64] = np.clip(np.rint(steps * stride + edge), 0, size).astype(np.int64)
        return found

    def blanks(self, steps: NDArray[np.int64], frames: Spans, corpus: str, least: int) -> dict[int, Segment]:
        """Gap → the run of blanks in it, less the frames that widened neighbours took."""
        gaps = self._gaps(steps, self.num_steps)
        limits = self._gaps(np.asarray(frames, dtype=np.int64).reshape(-1, 2), self.geometry[:, 2].astype(np.int64))
        found = self.frames(gaps, self.gap_owners)
        starts, ends = np.maximum(found[:, 0], limits[:, 0]), np.minimum(found[:, 1], limits[:, 1])
        sizes = gaps[:, 1] - gaps[:, 0]
        kept = np.flatnonzero((sizes >= least) & (ends > starts))
        if not len(kept):
            return {}
        values = np.concatenate([part for clip in self.clips for part in (clip.blank, _NOTHING)])
        bounds = (gaps[kept] + self.offsets[self.gap_owners[kept], None]).ravel()
        means = np.add.reduceat(values, bounds)[::2] / sizes[kept]
        lowest = np.minimum.reduceat(values, bounds)[::2]
        columns = (self.gap_owners[kept], starts[kept], ends[kept], means, lowest, sizes[kept])
        return {
            gap: Segment(corpus, self.clips[owner].clip, -1, BLANK_GLOSS, start, end, mean, low, False, size, True)
            for gap, owner, start, end, mean, low, size in zip(kept.tolist(), *(column.tolist() for column in columns))
        }

    def _gaps(self, spans: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """(M + C, 2) int64, what lies before, between and after the spans of each clip."""
        gaps = np.zeros((len(self.gap_owners), 2), dtype=np.int64)
        before = np.arange(len(spans)) + self.owners
        gaps[before, 1], gaps[before + 1, 0] = spans.T
        gaps[np.asarray(self.firsts[1:]) + np.arange(len(sizes)), 1] = sizes
        return gaps
