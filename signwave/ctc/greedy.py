"""Greedy decoding: the most probable token of every step, repeats and blanks removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from signwave.ctc.hypothesis import Hypothesis, check_log_probs
from signwave.ctc.labels import BLANK


def greedy(log_probs: Tensor, num_steps: Tensor) -> list[Hypothesis]:
    """Decode the best path of each item. Ties go to the lower token id.

    A token's span is the run of steps that it wins; its confidence is the mean posterior over that run. The score is
    the log probability of the whole path, blanks included.

    Args:
        log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
        num_steps: (B,) int64, steps per item.
    """
    lengths = check_log_probs(log_probs, num_steps)
    if log_probs.shape[1] == 0:
        return [Hypothesis((), 0.0) for _ in lengths]
    best, tokens = log_probs.float().max(-1)
    scores = best.cpu().numpy().astype(np.float64)
    paths = tokens.cpu().numpy()
    return [_collapse(paths[item, :length], scores[item, :length]) for item, length in enumerate(lengths)]


def _collapse(path: NDArray[np.int64], log_probs: NDArray[np.float64]) -> Hypothesis:
    if path.size == 0:
        return Hypothesis((), 0.0)
    starts = np.flatnonzero(np.concatenate(([True], path[1:] != path[:-1])))
    ends = np.append(starts[1:], path.size)
    means = np.add.reduceat(np.exp(log_probs), starts) / (ends - starts)
    runs = [run for run in range(starts.size) if path[starts[run]] != BLANK]
    return Hypothesis(
        tokens=tuple(int(path[starts[run]]) for run in runs),
        score=float(log_probs.sum()),
        steps=tuple((int(starts[run]), int(ends[run])) for run in runs),
        confidences=tuple(min(1.0, float(means[run])) for run in runs),
    )
