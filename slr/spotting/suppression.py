"""From the windows of a clip that a classifier is sure of to spans: greedy suppression in time, class by class.

Source: the pseudo-labels of CiCo (Cheng et al., CVPR 2023, §3.2) as its released code makes them: windows above a
threshold, the surest first; within 3 frames of one that was kept they widen it, within 24 frames they are dropped. The
released line that widens joins two `range` objects, which Python 3 refuses, and would widen the clip's first span
whichever was near; the union with the span that is near is what is meant, and what is done here.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suppression:
    """Which windows become spans.

    Attributes:
        threshold: a window counts if the probability of its likeliest class is above this.
        merge_frames: windows that start so near to a kept one widen its span.
        suppress_frames: windows that start so near to a kept one are dropped.
    """

    threshold: float = 0.6
    merge_frames: int = 3
    suppress_frames: int = 24

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {self.threshold}")
        if not 0 <= self.merge_frames <= self.suppress_frames:
            raise ValueError(
                "merge_frames must lie between 0 and suppress_frames, got "
                f"{self.merge_frames} and {self.suppress_frames}"
            )


class Span(NamedTuple):
    """A stretch of a clip that shows one class.

    Attributes:
        start: first frame.
        end: frame to stop before, at most `start` of the last window + its length; may lie past a short clip's end.
        confidence: probability of the surest window, in [0, 1].
        mean_confidence: mean over the windows that it is made of.
        min_confidence: the lowest of them.
        num_windows: how many they are.
    """

    start: int
    end: int
    confidence: float
    mean_confidence: float
    min_confidence: float
    num_windows: int


def suppress(
    starts: Sequence[int] | NDArray[np.int64],
    confidences: Sequence[float] | NDArray[np.float64],
    *,
    window_frames: int,
    rules: Suppression,
) -> list[Span]:
    """Spans of one class in one clip, by time.

    The surest window opens a span; of two that are equally sure the earlier comes first. Distances are between the
    start of a window and that of the window that opened a span, never to what the span was widened to, so a span is at
    most 2 * merge_frames longer than a window. Of several spans that are near enough a window widens the nearest, of
    two equally near the earlier.

    Args:
        starts: (N,) frames, in any order, each once.
        confidences: (N,) in [0, 1], of the class; those at or below the threshold are left out.
        window_frames: length of a window.
        rules: when.
    """
    at, sure = np.asarray(starts, dtype=np.int64), np.asarray(confidences, dtype=np.float64)
    kept: list[int] = []  # starts of the windows that opened a span, rising
    members: dict[int, list[tuple[int, float]]] = {}
    for place in np.lexsort((at, -sure)):
        if not sure[place] > rules.threshold:
            break
        start, confidence = int(at[place]), float(sure[place])
        nearest = _nearest(kept, start)
        distance = None if nearest is None else abs(start - nearest)
        if nearest is None or distance is None or distance > rules.suppress_frames:
            bisect.insort(kept, start)
            members[start] = [(start, confidence)]
        elif distance <= rules.merge_frames:
            members[nearest].append((start, confidence))
    return [_span(members[start], window_frames) for start in kept]


def _nearest(kept: Sequence[int], start: int) -> int | None:
    place = bisect.bisect_left(kept, start)
    return min(kept[max(0, place - 1) : place + 1], key=lambda one: (abs(one - start), one), default=None)


def _span(members: Sequence[tuple[int, float]], window_frames: int) -> Span:
    starts, sure = zip(*members, strict=True)
    return Span(
        start=min(starts),
        end=max(starts) + window_frames,
        confidence=max(sure),
        mean_confidence=float(np.mean(sure)),
        min_confidence=min(sure),
        num_windows=len(members),
    )


def spans_of_classes(
    log_probs: NDArray[np.float32], starts: NDArray[np.int64], *, window_frames: int, rules: Suppression
) -> list[tuple[int, Span]]:
    """(class, span) of one clip, by start, then by class.

    A window speaks for its likeliest class alone; of two equally likely ones for the lower.

    Args:
        log_probs: (N, V) float32, natural log of the probabilities of each window.
        starts: (N,) int64, their first frames.
        window_frames: length of a window.
        rules: when.
    """
    labels, best = log_probs.argmax(1), np.exp(log_probs.max(1).astype(np.float64))
    found = [
        (int(label), span)
        for label in np.unique(labels[best > rules.threshold])
        for span in suppress(starts[labels == label], best[labels == label], window_frames=window_frames, rules=rules)
    ]
    return sorted(found, key=lambda one: (one[1].start, one[0]))
