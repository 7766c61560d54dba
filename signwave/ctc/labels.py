"""Which label sequences a CTC loss may see: ids in range, never the blank, and short enough for the steps there are.

An out-of-range label makes torch's CTC loss read and write outside its buffers: the loss looks finite and the process
dies later, or doesn't. So every label goes through `check_labels` before it goes anywhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from signwave.errors import LabelError

BLANK = 0
"""The blank is token 0 everywhere."""

STAR = -1
"""In forced alignment only: a label that absorbs any run of steps (see `signwave.ctc.align`)."""


def min_steps(labels: Sequence[int]) -> int:
    """Return how many steps a CTC path through `labels` needs: one a token, one more between equal neighbours."""
    return len(labels) + sum(1 for left, right in itertools.pairwise(labels) if left == right)


def required_steps(labels: Tensor, num_labels: Tensor) -> Tensor:
    """Return `min_steps` of every row.

    Args:
        labels: (B, N) int64, token ids; anything past num_labels.
        num_labels: (B,) int64, labels per item.

    Returns:
        (B,) int64, steps that the shortest path takes.
    """
    if labels.shape[1] < 2:
        return num_labels.clone()
    inside = torch.arange(1, labels.shape[1], device=labels.device) < num_labels.unsqueeze(1)
    repeats = (labels[:, 1:] == labels[:, :-1]) & inside
    return num_labels + repeats.sum(1)


def feasible(labels: Tensor, num_labels: Tensor, *, num_steps: Tensor) -> Tensor:
    """Say which items have enough steps for their labels.

    Args:
        labels: (B, N) int64, token ids; anything past num_labels.
        num_labels: (B,) int64, labels per item.
        num_steps: (B,) int64, model steps per item.

    Returns:
        (B,) bool, true where at least one CTC path exists.
    """
    return required_steps(labels, num_labels) <= num_steps


def check_labels(
    labels: Tensor,
    num_labels: Tensor,
    *,
    vocab_size: int,
    num_steps: Tensor | None = None,
    max_steps: int | None = None,
    ids: Sequence[str] | None = None,
    allow_star: bool = False,
) -> None:
    """Refuse labels that no CTC loss may see. Meant for CPU tensors, in `collate`; on a GPU it waits for the device.

    Items that are merely too long for their steps pass: `feasible` tells them, the loss skips and counts them.

    Args:
        labels: (B, N) int64, token ids in [1, vocab_size); anything past num_labels.
        num_labels: (B,) int64, labels per item, at most N.
        vocab_size: number of tokens with the blank.
        num_steps: (B,) int64, model steps per item; None where they aren't known yet.
        max_steps: length of the step axis, which no item may exceed.
        ids: names of the items for the message; their row numbers by default.
        allow_star: let the wildcard STAR through (forced alignment only).

    Raises:
        LabelError: names the first bad item.
        ValueError: the tensors don't have the shapes above.
    """
    _check_shapes(labels, num_labels, num_steps, ids)
    num_columns = labels.shape[1]
    _refuse_lengths(num_labels, num_columns, "labels", "the label tensor holds", ids)
    if num_steps is not None:
        limit = max_steps if max_steps is not None else torch.iinfo(torch.int64).max
        _refuse_lengths(num_steps, limit, "steps", "the model's output holds", ids)
    inside = torch.arange(num_columns, device=labels.device) < num_labels.unsqueeze(1)
    bad = inside & ((labels <= BLANK) | (labels >= vocab_size))
    if allow_star:
        bad &= labels != STAR
    if bool(bad.any()):
        row, column = (int(value) for value in bad.nonzero()[0])
        raise LabelError(_bad_label_message(int(labels[row, column]), column, vocab_size, _name(ids, row)))


def _check_shapes(labels: Tensor, num_labels: Tensor, num_steps: Tensor | None, ids: Sequence[str] | None) -> None:
    if labels.ndim != 2:
        raise ValueError(f"labels must be (B, N), got {tuple(labels.shape)}")
    if labels.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"labels must be int64, got {labels.dtype}")
    num_items = labels.shape[0]
    for name, lengths in (("num_labels", num_labels), ("num_steps", num_steps)):
        if lengths is not None and (tuple(lengths.shape) != (num_items,) or lengths.is_floating_point()):
            raise ValueError(f"{name} must be ({num_items},) int64, got {tuple(lengths.shape)} {lengths.dtype}")
    if ids is not None and len(ids) != num_items:
        raise ValueError(f"ids must name {num_items} items, got {len(ids)}")


def _refuse_lengths(lengths: Tensor, limit: int, what: str, holder: str, ids: Sequence[str] | None) -> None:
    bad = (lengths < 0) | (lengths > limit)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise LabelError(
            f"{_name(ids, row)}: {int(lengths[row])} {what}, but {holder} {limit}; "
            f"lengths are counts in [0, {limit}]: fix the item's length, nothing is clamped"
        )


def _bad_label_message(label: int, position: int, vocab_size: int, name: str) -> str:
    hint = "encode the text with the model's own vocabulary"
    if label == BLANK:
        hint = f"{BLANK} is the blank, which no text contains: shift the labels by one or {hint}"
    elif label < 0:
        hint = "padding must lie past num_labels, never inside"
    return f"{name}: label {label} at position {position}; allowed are 1 to {vocab_size - 1} (0 is the blank); {hint}"


def _name(ids: Sequence[str] | None, row: int) -> str:
    return f"item {row} of the batch" if ids is None else f"'{ids[row]}'"
