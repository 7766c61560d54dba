"""Long clips in constant memory: overlapping windows whose posteriors are stitched, and passages that decoders take.

A model sees at most `window` steps at a time. The steps near a window's inner edge lack context, so each window keeps
only those that lie far enough from it. Windows start at whole model steps, so steps of all windows lie on one grid and
nothing has to be aligned by text. With a receptive field within the margins, the stitched posteriors equal those of
one pass over the whole clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.ctc import BLANK


class Window(NamedTuple):
    """One stretch of a clip.

    samples: (S, …), what the model reads: audio samples, or frames of video or keypoints.
    first_step: the clip's step that the window starts at.
    keep_from, keep_to: the clip's steps [from, to) that this window decides; `keep_to` None = to its end (the last).
    """

    samples: NDArray[Any]
    first_step: int
    keep_from: int
    keep_to: int | None

    def middle(self, log_probs: Tensor, num_steps: int) -> Tensor:
        """The steps that this window decides.

        Args:
            log_probs: (T, V) float32, natural log, of this window; anything past num_steps.
            num_steps: valid steps.

        Returns:
            (T', V) float32, a part of log_probs.
        """
        end = num_steps if self.keep_to is None else min(num_steps, self.keep_to - self.first_step)
        return log_probs[self.keep_from - self.first_step : end]


def windows(
    chunks: Iterable[NDArray[Any]], *, window_steps: int, margin_steps: int, samples_per_step: int
) -> Iterator[Window]:
    """Cut a clip into overlapping windows; one up to a window long stays whole.

    Args:
        chunks: (S, …) each, consecutive, of any lengths.
        window_steps: length of a window, in model steps.
        margin_steps: steps at each inner edge that the neighbour decides.
        samples_per_step: samples or frames per model step.
    """
    if not 0 <= 2 * margin_steps < window_steps:
        raise ValueError(f"two margins of {margin_steps} steps must be shorter than the window of {window_steps}")
    size, hop_steps = window_steps * samples_per_step, window_steps - 2 * margin_steps
    buffer: list[NDArray[Any]] = []
    num_buffered, first_step = 0, 0
    for chunk in chunks:
        buffer.append(chunk)
        num_buffered += chunk.shape[0]
        if num_buffered <= size:
            continue
        samples = np.concatenate(buffer)
        while samples.shape[0] > size:
            keep_from = first_step + margin_steps if first_step else 0
            yield Window(samples[:size].copy(), first_step, keep_from, first_step + window_steps - margin_steps)
            samples = samples[hop_steps * samples_per_step :]
            first_step += hop_steps
        # A copy: a view would hold on to the whole block it was cut from.
        buffer, num_buffered = [samples.copy()], samples.shape[0]
    if num_buffered:
        yield Window(np.concatenate(buffer), first_step, first_step + margin_steps if first_step else 0, None)


def sliding(
    chunks: Iterable[NDArray[Any]], *, window_steps: int, hop_steps: int, lookahead_steps: int, samples_per_step: int
) -> Iterator[Window]:
    """Cut a stream into windows as it comes: each decides the `hop` steps that lie `lookahead` before its end.

    A window is given out as soon as its last sample is there. The first ones are shorter, for nothing lies before the
    clip; the last one decides all that is left.

    Args:
        chunks: (S, …) each, consecutive, of any lengths.
        window_steps: length of a window, in model steps.
        hop_steps: steps that a window decides.
        lookahead_steps: steps after those; what is left of the window lies before them.
        samples_per_step: samples or frames per model step.
    """
    if hop_steps < 1 or lookahead_steps < 0 or hop_steps + lookahead_steps > window_steps:
        raise ValueError(
            f"a hop of {hop_steps} (at least 1) and a look-ahead of {lookahead_steps} steps must fit into the window "
            f"of {window_steps}"
        )
    buffer: list[NDArray[Any]] = []
    first_step, num_samples, decided = 0, 0, 0  # num_samples: from first_step on
    for chunk in chunks:
        buffer.append(chunk)
        num_samples += chunk.shape[0]
        while num_samples >= (decided + hop_steps + lookahead_steps - first_step) * samples_per_step:
            samples = np.concatenate(buffer)
            size = (decided + hop_steps + lookahead_steps - first_step) * samples_per_step
            yield Window(samples[:size].copy(), first_step, decided, decided + hop_steps)
            decided += hop_steps
            start = max(0, decided + hop_steps + lookahead_steps - window_steps)
            samples = samples[(start - first_step) * samples_per_step :].copy()
            buffer, num_samples, first_step = [samples], samples.shape[0], start
    if num_samples > (decided - first_step) * samples_per_step:
        yield Window(np.concatenate(buffer), first_step, decided, None)


class Passages:
    """Stitched posteriors, handed on in passages of bounded length that end where nothing is said or signed.

    Decoders hold a passage at a time, so an hours-long file takes no more memory than a minute. A passage ends in the
    middle of the longest run of blanks, next to a space if there is one: greedy decoding of the passages then equals
    greedy decoding of the whole, and a beam search with a language model isn't cut within a word.
    """

    def __init__(self, *, max_steps: int, space: int | None = None) -> None:
        """Start a file.

        Args:
            max_steps: the longest passage.
            space: the token between words, where the vocabulary has one.
        """
        self._max_steps = max_steps
        self._space = space
        self._parts: list[Tensor] = []
        self._num_steps = 0
        self._first_step = 0

    def add(self, log_probs: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Take the next steps; yield (first step, passage) for each passage that is complete.

        Args:
            log_probs: (T, V) float32, natural log, following those added before.
        """
        self._parts.append(log_probs)
        self._num_steps += log_probs.shape[0]
        while self._num_steps > self._max_steps:
            whole = torch.cat(self._parts)
            cut = _quiet_step(whole[: self._max_steps], self._space)
            yield self._first_step, whole[:cut]
            self._parts, self._num_steps = [whole[cut:]], self._num_steps - cut
            self._first_step += cut

    def finish(self) -> Iterator[tuple[int, Tensor]]:
        """Yield what is left."""
        if self._num_steps:
            yield self._first_step, torch.cat(self._parts)
        self._parts, self._num_steps = [], 0


def _quiet_step(log_probs: Tensor, space: int | None) -> int:
    """Where to cut: the middle of the longest run of blanks in the second half, else between two tokens."""
    offset = log_probs.shape[0] // 2
    late = log_probs[offset:]
    path: list[int] = late.argmax(-1).tolist()
    edges: list[int] = np.flatnonzero(np.diff([0, *(token == BLANK for token in path), 0])).tolist()
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    if not runs:
        changes = [i for i in range(1, len(path)) if path[i] != path[i - 1]]
        return offset + (max(changes, key=lambda i: float(late[i, BLANK])) if changes else len(path))

    def beside_space(run: tuple[int, int]) -> bool:
        start, end = run
        return (start > 0 and path[start - 1] == space) or (end < len(path) and path[end] == space)

    start, end = max(runs, key=lambda run: (beside_space(run), run[1] - run[0]))
    return max(1, offset + (start + end) // 2)
