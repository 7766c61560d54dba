"""Which token each step of a clip stands for: from an older head, from given times, or spread evenly to begin with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from signwave.ctc import BLANK
from signwave.ctc.align import Alignment, align

EDGE_SHARE = 0.1


def spread_evenly(num_steps: int, labels: Sequence[int], *, edge_share: float = EDGE_SHARE) -> Tensor:
    """(T,) int64: every label gets an equal run of steps, the edges of the clip are blank.

    What nothing is known about begins so, as recognisers of whole words always have.

    Args:
        num_steps: T.
        labels: N tokens in [1, V).
        edge_share: of the clip, at each end, left to the blank where the labels leave that much room.
    """
    steps = torch.full((num_steps,), BLANK, dtype=torch.int64)
    edge = min(max(1, round(edge_share * num_steps)), max(0, (num_steps - len(labels)) // 2))
    inside = num_steps - 2 * edge
    if labels and inside > 0:
        steps[edge : edge + inside] = torch.tensor(labels)[torch.arange(inside) * len(labels) // inside]
    return steps


def spikes(tokens: Sequence[int], peaks: Sequence[int], num_steps: int, *, reach: int = 1) -> Tensor:
    """(T,) int64: each token at its peak and `reach` steps around it, else blank.

    Neighbours don't cover each other's peaks, and equal ones keep a blank between them where there is room.

    Args:
        tokens: N, in order.
        peaks: their steps, rising.
        num_steps: T.
        reach: steps on each side of a peak.
    """
    steps = torch.full((num_steps,), BLANK, dtype=torch.int64)
    previous, before = -1, BLANK
    for token, peak in zip(tokens, peaks, strict=True):
        gap = int(token == before)
        first = min(peak, max(peak - reach, previous + 1 + gap, 0))
        steps[first : peak + reach + 1] = token
        if gap and first - 1 > previous:
            steps[first - 1] = BLANK
        previous, before = peak, token
    return steps


def align_states(
    states: Sequence[Tensor], labels: Sequence[Sequence[int]], weight: Tensor, bias: Tensor
) -> list[Alignment | None]:
    """Align clips with a head, None where a clip has too few steps.

    Args:
        states: clips of (T, D) float32.
        labels: of each clip.
        weight: (V, D) float32 of the head.
        bias: (V,) float32.
    """
    log_probs = [(clip @ weight.T + bias).log_softmax(-1) for clip in states]
    num_steps = torch.tensor([len(clip) for clip in log_probs])
    padded = pad_sequence([torch.tensor(list(row), dtype=torch.int64) for row in labels], batch_first=True)
    num_labels = torch.tensor([len(row) for row in labels])
    return align(pad_sequence(log_probs, batch_first=True), num_steps, padded, num_labels, on_infeasible="none")
