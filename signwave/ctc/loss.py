"""The CTC loss: every label checked, items without a path counted instead of poisoning the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from signwave.ctc.labels import BLANK, check_labels, feasible

Reduction = Literal["mean_per_item", "mean_per_token", "sum"]

# torch's gradient is NaN where a log probability is -inf. Values below this floor are as impossible as -inf, and a
# real loss never comes near it, so the floor also marks items whose labels the model rules out.
_FLOOR = -1e6


class CtcLoss(NamedTuple):
    """What `ctc_loss` returns.

    Attributes:
        loss: () float32, nats, reduced over the counted items; 0 with a zero gradient where none counted.
        per_item: (B,) float32, nats, negative log probability of each item's labels; 0 for skipped items.
        num_skipped: () int64, items without any path.
        skipped: (B,) bool, which they are.
    """

    loss: Tensor
    per_item: Tensor
    num_skipped: Tensor
    skipped: Tensor


def ctc_loss(
    log_probs: Tensor,
    num_steps: Tensor,
    labels: Tensor,
    num_labels: Tensor,
    *,
    ids: Sequence[str] | None = None,
    reduction: Reduction = "mean_per_item",
) -> CtcLoss:
    """Return the CTC loss of a batch.

    An item is skipped (loss 0, gradient 0, counted) when its labels need more steps than it has, or when the model
    gives its labels probability 0. NaN in `log_probs` stays NaN: it is never hidden.

    Labels on the CPU are checked and refused by name. Labels that already lie on a GPU are checked there without
    waiting for it: a bad one makes its item's loss NaN and never reaches the kernel, so check in `collate`.

    Args:
        log_probs: (B, T, V) float, natural log of the token probabilities, V[0] is the blank; anything past num_steps.
            bfloat16 and float16 are computed in float32.
        num_steps: (B,) int64, steps per item, at most T.
        labels: (B, N) int64, token ids in [1, V); anything past num_labels.
        num_labels: (B,) int64, labels per item, at most N.
        ids: names of the items for error messages.
        reduction: "mean_per_item" divides the sum by the counted items, "mean_per_token" by their labels (a long item
            weighs more), "sum" doesn't divide.

    Raises:
        LabelError: a label or a length can't be used; names the item.
    """
    if log_probs.ndim != 3:
        raise ValueError(f"log_probs must be (B, T, V), got {tuple(log_probs.shape)}")
    vocab_size = log_probs.shape[2]
    device = log_probs.device
    on_device = labels.device.type != "cpu"
    if not on_device:
        check_labels(
            labels,
            num_labels.cpu(),
            vocab_size=vocab_size,
            num_steps=num_steps.cpu(),
            max_steps=log_probs.shape[1],
            ids=ids,
        )
    labels, num_labels, num_steps = labels.to(device), num_labels.to(device), num_steps.to(device)
    inside = torch.arange(labels.shape[1], device=device) < num_labels.unsqueeze(1)
    bad = inside & ((labels <= BLANK) | (labels >= vocab_size)) if on_device else None
    possible = feasible(labels, num_labels, num_steps=num_steps)
    # Skipped and padded places get an allowed label, and skipped items none at all: the kernel sees only safe input.
    keep = inside if bad is None else inside & ~bad
    raw = functional.ctc_loss(
        log_probs.float().clamp(min=_FLOOR).transpose(0, 1),
        labels.where(keep, torch.ones_like(labels)),
        num_steps,
        num_labels.where(possible, torch.zeros_like(num_labels)),
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    skipped = ~possible | (raw.detach() >= -_FLOOR)
    per_item = raw.masked_fill(skipped, 0.0)
    if bad is not None:
        per_item = per_item.masked_fill(bad.any(1), float("nan"))
    return CtcLoss(_reduce(per_item, num_labels, ~skipped, reduction), per_item, skipped.sum(), skipped)


def _reduce(per_item: Tensor, num_labels: Tensor, counted: Tensor, reduction: Reduction) -> Tensor:
    total = per_item.sum()
    if reduction == "sum":
        return total
    if reduction == "mean_per_item":
        return total / counted.sum().clamp(min=1)
    if reduction == "mean_per_token":
        return total / (num_labels * counted).sum().clamp(min=1)
    raise ValueError(f"reduction is {reduction!r}; allowed are 'mean_per_item', 'mean_per_token' and 'sum'")
