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

    def frame(self, step: int) -> int:
        """Where a step begins, inside the clip."""
        return min(max(round(step * self.stride + self.edge_frames), 0), self.num_frames)


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
        found.append(_widened(start, end, max(0, min_frames - (end - start)), floor, ceiling))
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
    num_steps = len(posteriors)
    grown = list(alignment.steps)
    if cutting.grow and posteriors.shape[1] > 1:
        grown = grow_spans(alignment.steps, alignment.tokens, posteriors[:, 1:].argmax(1) + 1)
    frames = [(geometry.frame(start), geometry.frame(end)) for start, end in grown]
    wide = widen(frames, min_frames=cutting.min_frames, num_frames=geometry.num_frames)
    found = [
        Segment(
            corpus=corpus,
            clip=clip,
            index=place,
            gloss=gloss,
            start_frame=wide[place][0],
            end_frame=wide[place][1],
            mean_posterior=alignment.mean_posteriors[place],
            min_posterior=alignment.min_posteriors[place],
            grown=grown[place] != alignment.steps[place],
            num_steps=alignment.steps[place][1] - alignment.steps[place][0],
            known=alignment.tokens[place] > 0,
        )
        for place, gloss in enumerate(glosses)
    ]
    if cutting.min_blank_steps:
        found += _blanks(grown, wide, posteriors[:num_steps, 0], geometry, corpus, clip, cutting.min_blank_steps)
    return sorted(found, key=lambda segment: (segment.start_frame, segment.end_frame, segment.index))


def _blanks(
    steps: Spans, frames: Spans, blank: NDArray[np.float32], geometry: Geometry, corpus: str, clip: str, least: int
) -> list[Segment]:
    """Runs of blanks between the grown spans, less the frames that widened neighbours took."""
    step_edges = [0, *itertools.chain.from_iterable(steps), len(blank)]
    frame_edges = [0, *itertools.chain.from_iterable(frames), geometry.num_frames]
    found = []
    for place in range(0, len(step_edges), 2):
        first, stop = step_edges[place], step_edges[place + 1]
        start = max(geometry.frame(first), frame_edges[place])
        end = min(geometry.frame(stop), frame_edges[place + 1])
        if stop - first >= least and end > start:
            part = blank[first:stop]
            values = (float(part.mean()), float(part.min()))
            found.append(Segment(corpus, clip, -1, BLANK_GLOSS, start, end, *values, False, stop - first, True))
    return found
