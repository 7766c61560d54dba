"""A recogniser of isolated signs slid over clips: where it is sure to see a sign of its own language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.errors import ArtefactError, MediaError, UserError
from signwave.manifest import Clip
from slr.crosslingual.segments import BLANK_GLOSS, Segment
from slr.features.windows import SlidingWindows
from slr.reading import Needs, Reading
from slr.spotting.suppression import Span, Suppression, spans_of_classes
from slr.training.data import read_clip

NUM_BINS = 20
"""Bins of the histogram of confidences, over [0, 1]."""
_FRAMES_AT_ONCE = {"frames": 512, "frames+keypoints": 512}
_OTHERS_AT_ONCE = 8192


class SeesWindows(Protocol):
    """What is asked of a recogniser; slr.isolated.infer.IsolatedRecognizer is one."""

    name: str
    digest: str
    needs: Needs
    window_frames: int

    @property
    def languages(self) -> tuple[str, ...]:
        """Names of its classifiers."""

    def glosses(self, language: str) -> tuple[str, ...]:
        """Classes of a language, the blank first."""

    def look(self, windows: Tensor, *, points: Tensor | None = None) -> tuple[Any, dict[str, NDArray[np.float32]]]:
        """Of N windows, second: language → (N, V) float32, natural log of calibrated probabilities."""


class Spotted(NamedTuple):
    """One clip: the spans that were found, or why it couldn't be read.

    clip: its row of the manifest.
    segments: by time, blanks among the signs.
    histogram: (NUM_BINS,) int64, the windows of the clip by the probability of their likeliest class.
    num_sure: windows above the threshold.
    problem: why there is nothing.
    """

    clip: Clip
    segments: list[Segment]
    histogram: NDArray[np.int64]
    num_sure: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Spotter:
    """Slides a recogniser's windows over clips, one frame at a time.

    Attributes:
        recognizer: what looks.
        language: whose classifier is asked.
        rules: which windows become spans.
        with_blanks: keep spans in which it is sure that nothing is signed, if it knows of a blank.
    """

    recognizer: SeesWindows
    language: str
    rules: Suppression = field(default_factory=Suppression)
    with_blanks: bool = True

    def __call__(self, clips: Sequence[Clip], *, corpus: str) -> Iterator[Spotted]:
        """Spot signs in clips, in their order; the next clip is read while one is looked at.

        Args:
            clips: rows of a manifest.
            corpus: name that the segments get.

        Raises:
            ArtefactError: the model gives NaN.
        """
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self._read, clips[0]) if clips else None
            for place, clip in enumerate(clips):
                reading = waiting.result() if waiting is not None else ""
                waiting = pool.submit(self._read, clips[place + 1]) if place + 1 < len(clips) else None
                if isinstance(reading, str):
                    yield Spotted(clip, [], np.zeros(NUM_BINS, dtype=np.int64), problem=reading)
                else:
                    yield self._spot(clip, reading, corpus)

    def log_probs(self, reading: Reading) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(N, V) float32, natural log of the probabilities of all windows of a clip, and (N,) int64, where they start.

        A clip that is shorter than a window has one, in which its last frame is repeated.
        """
        size, num_frames = self.recognizer.window_frames, len(reading.inputs)
        starts = SlidingWindows(window_frames=size, stride=1, most=None).starts(num_frames)
        step = max(1, _FRAMES_AT_ONCE.get(self.recognizer.needs.reads, _OTHERS_AT_ONCE) // size)
        rows = []
        for first in range(0, len(starts), step):
            places = np.minimum(starts[first : first + step, None] + np.arange(size), num_frames - 1)
            points = None if reading.points is None else torch.from_numpy(
                reading.points[np.minimum(places, len(reading.points) - 1)]
            )  # fmt: skip
            _, found = self.recognizer.look(torch.from_numpy(reading.inputs[places]), points=points)
            rows.append(found[self.language])
        return np.concatenate(rows), starts

    def _read(self, clip: Clip) -> Reading | str:
        try:
            reading = read_clip(clip, needs=self.recognizer.needs)
            if not len(reading.inputs):
                raise MediaError(clip.path, "has no frame; prepare the corpus again", kind="empty")
            if self.recognizer.needs.reads == "frames+keypoints" and reading.points is None:
                reason = "has no keypoints beside it, and two streams need them; prepare the corpus with --poses"
                raise MediaError(clip.path, reason, kind="missing")
        except (UserError, OSError) as error:
            return " ".join(str(error).split())
        return reading

    def _spot(self, clip: Clip, reading: Reading, corpus: str) -> Spotted:
        log_probs, starts = self.log_probs(reading)
        if np.isnan(log_probs).any():
            raise ArtefactError(f"{self.recognizer.name}: gives NaN for clip '{clip.id}'; train the model again")
        size = self.recognizer.window_frames
        spans = spans_of_classes(log_probs, starts, window_frames=size, rules=self.rules)
        glosses = self.recognizer.glosses(self.language)
        named = [(glosses[label], span) for label, span in spans if self.with_blanks or glosses[label] != BLANK_GLOSS]
        best = np.exp(log_probs.max(1).astype(np.float64))
        histogram, _ = np.histogram(best.clip(0, 1), bins=NUM_BINS, range=(0.0, 1.0))
        segments = _segments(named, corpus, clip.id, len(reading.inputs))
        return Spotted(clip, segments, histogram.astype(np.int64), int((best > self.rules.threshold).sum()))


def _segments(spans: Sequence[tuple[str, Span]], corpus: str, clip: str, num_frames: int) -> list[Segment]:
    found, index = [], 0
    for gloss, span in spans:
        is_sign = gloss != BLANK_GLOSS
        found.append(
            Segment(
                corpus=corpus,
                clip=clip,
                index=index if is_sign else -1,
                gloss=gloss,
                start_frame=span.start,
                end_frame=min(span.end, num_frames),
                mean_posterior=span.mean_confidence,
                min_posterior=span.min_confidence,
                grown=span.num_windows > 1,
                num_steps=span.num_windows,
                known=True,
            )
        )
        index += is_sign
    return found
