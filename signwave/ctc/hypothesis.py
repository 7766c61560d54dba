"""What every decoder returns, and the small steps that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from signwave.ctc.align import Alignment


@dataclass(frozen=True)
class Hypothesis:
    """One decoded label sequence.

    Attributes:
        tokens: token ids, blanks and repeats removed.
        score: natural log: greedy gives the probability of its one path; the beam searches give the probability summed
            over the paths they kept, plus `lm_score`.
        steps: a half-open step span per token, from the best path through the tokens. Empty when not asked for.
        confidences: per token in [0, 1], the mean posterior over its span. Empty when not asked for.
        lm_score: the weighted part of `score` that the language model and the length bonus gave.
        words: the words, where the decoder works on words (a lexicon), else empty.
    """

    tokens: tuple[int, ...]
    score: float
    steps: tuple[tuple[int, int], ...] = ()
    confidences: tuple[float, ...] = ()
    lm_score: float = 0.0
    words: tuple[str, ...] = ()


def check_log_probs(log_probs: Tensor, num_steps: Tensor) -> list[int]:
    """Check a decoder's input and return the steps per item as Python integers.

    Args:
        log_probs: (B, T, V) float, natural log; anything past num_steps.
        num_steps: (B,) int64, steps per item, in [0, T].
    """
    if log_probs.ndim != 3 or log_probs.shape[2] < 1:
        raise ValueError(f"log_probs must be (B, T, V), got {tuple(log_probs.shape)}")
    num_items, num_rows, _ = log_probs.shape
    if tuple(num_steps.shape) != (num_items,) or num_steps.is_floating_point():
        raise ValueError(f"num_steps must be ({num_items},) int64, got {tuple(num_steps.shape)} {num_steps.dtype}")
    lengths: list[int] = num_steps.tolist()
    for item, length in enumerate(lengths):
        if not 0 <= length <= num_rows:
            raise ValueError(f"num_steps[{item}] is {length}; log_probs has {num_rows} steps, nothing is clamped")
    inside = torch.arange(num_rows, device=log_probs.device) < num_steps.to(log_probs.device).unsqueeze(1)
    broken = (log_probs.isnan().any(2) & inside).any(1)
    if bool(broken.any()):
        raise ValueError(
            f"log_probs of item {int(broken.nonzero()[0])} holds NaN: the model's output is broken, nothing is decoded"
        )
    return lengths


def align_all(
    n_best: Sequence[Sequence[Hypothesis]], log_probs: Tensor, lengths: Sequence[int]
) -> list[list[Alignment | None]]:
    """Align each hypothesis with its item; None where it has no path, which a beam search never yields.

    Args:
        n_best: per item its hypotheses.
        log_probs: (B, T, V) float, natural log; anything past the lengths.
        lengths: steps per item.
    """
    from signwave.ctc.align import align

    result: list[list[Alignment | None]] = [[] for _ in n_best]
    # Rank by rank: one copy of the posteriors at a time, however many hypotheses there are.
    for rank in range(max((len(row) for row in n_best), default=0)):
        items = [item for item, row in enumerate(n_best) if len(row) > rank]
        rows = [torch.tensor(n_best[item][rank].tokens, dtype=torch.int64) for item in items]
        aligned = align(
            log_probs if len(items) == len(n_best) else log_probs[torch.tensor(items, device=log_probs.device)],
            torch.tensor([lengths[item] for item in items]),
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            torch.tensor([row.shape[0] for row in rows]),
            on_infeasible="none",
        )
        for item, alignment in zip(items, aligned, strict=True):
            result[item].append(alignment)
    return result


def with_steps(
    n_best: Sequence[Sequence[Hypothesis]], log_probs: Tensor, lengths: Sequence[int]
) -> list[list[Hypothesis]]:
    """Add spans and confidences to hypotheses; arguments as in `align_all`."""
    aligned = align_all(n_best, log_probs, lengths)
    return [
        [
            one if alignment is None else replace(one, steps=alignment.steps, confidences=alignment.mean_posteriors)
            for one, alignment in zip(hypotheses, alignments, strict=True)
        ]
        for hypotheses, alignments in zip(n_best, aligned, strict=True)
    ]
