"""Forced alignment: the most probable CTC path through known labels, for a whole batch at once.

The back end "torch" is a Viterbi search over all items and states of a step, on CPU or GPU, with wildcards. The back
end "torchaudio" calls `torchaudio.functional.forced_align` item by item, which is faster on a CPU.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.ctc.hypothesis import check_log_probs
from signwave.ctc.labels import BLANK, STAR, check_labels, required_steps
from signwave.errors import LabelError

Backend = Literal["auto", "torch", "torchaudio"]

_logger = logging.getLogger(__name__)
_IMPOSSIBLE = -math.inf


@dataclass(frozen=True)
class Alignment:
    """The best path of one item through its labels.

    Attributes:
        tokens: the labels.
        steps: a half-open step span per label; the steps between spans are blanks.
        mean_posteriors: per label in [0, 1], the mean posterior over its span (of a wildcard: of the best token).
        min_posteriors: per label in [0, 1], the lowest posterior in its span.
        peaks: per label the step of its highest posterior.
        score: natural log probability of the path, wildcard penalties included.
    """

    tokens: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]
    mean_posteriors: tuple[float, ...]
    min_posteriors: tuple[float, ...]
    peaks: tuple[int, ...]
    score: float


def align(
    log_probs: Tensor,
    num_steps: Tensor,
    labels: Tensor,
    num_labels: Tensor,
    *,
    backend: Backend = "auto",
    on_infeasible: Literal["raise", "none"] = "raise",
    ids: Sequence[str] | None = None,
    star_penalty: float = 0.5,
) -> list[Alignment | None]:
    """Align each item's labels with its steps.

    A label STAR (-1) is a wildcard: it absorbs one or more steps, whatever the model hears there, at the probability
    of each step's best token, less a penalty.

    Args:
        log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
        num_steps: (B,) int64, steps per item.
        labels: (B, N) int64, token ids in [1, V) or STAR; anything past num_labels.
        num_labels: (B,) int64, labels per item.
        backend: "auto" takes torchaudio on a CPU where no wildcard is used, torch otherwise. Items with impossible
            tokens (-inf) always go through torch.
        on_infeasible: an item without a path is an error, or gives None and a log line that says why.
        ids: names of the items for messages.
        star_penalty: nats per step of a wildcard, so that a real label that fits wins the step.

    Raises:
        LabelError: a label can't be used or, with "raise", an item has no path; names the item.
    """
    lengths = check_log_probs(log_probs, num_steps)
    labels, num_labels, num_steps = labels.cpu(), num_labels.cpu(), num_steps.cpu()
    check_labels(labels, num_labels, vocab_size=log_probs.shape[2], ids=ids, allow_star=True)
    labels = labels[:, : int(num_labels.max()) if num_labels.numel() else 0]
    inside = torch.arange(labels.shape[1]) < num_labels.unsqueeze(1)
    labels = labels.masked_fill(~inside, BLANK).to(torch.int64)
    with_star = bool((labels == STAR).any())
    if backend == "torchaudio" and with_star:
        raise ValueError("backend 'torchaudio' knows no wildcard; use 'torch' or 'auto'")
    needed = required_steps(labels, num_labels).tolist()
    usable = [item for item, length in enumerate(lengths) if needed[item] <= length]
    log_probs = (log_probs if log_probs.dtype == torch.float64 else log_probs.float()).detach()
    native = backend == "torchaudio" or (backend == "auto" and not log_probs.is_cuda and not with_star)
    paths = dict.fromkeys(range(len(lengths)), _NO_PATH)
    if usable:
        chosen = torch.tensor(usable)
        kept = log_probs if len(usable) == len(lengths) else log_probs[chosen.to(log_probs.device)]
        parts = (kept, num_steps[chosen], labels[chosen], num_labels[chosen])
        found = _native_paths(*parts) if native else viterbi(*parts, star_penalty=star_penalty)
        paths.update(zip(usable, found, strict=True))
    result: list[Alignment | None] = []
    for item, path in paths.items():
        tokens = labels[item, : int(num_labels[item])].tolist()
        if path.score == _IMPOSSIBLE:
            reason = _reason(item, ids, needed[item], lengths[item])
            if on_infeasible == "raise":
                raise LabelError(reason)
            _logger.warning("%s; not aligned", reason)
            result.append(None)
        else:
            result.append(_alignment(tokens, path))
    return result


@dataclass(frozen=True)
class Path:
    """One item's best path.

    Attributes:
        states: (T,) int64, 2 n + 1 in the n-th label, even in the blank before it.
        log_probs: (T,) float64, natural log probability of each step.
        score: their sum, -inf where there is no path.
    """

    states: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    score: float


_NO_PATH = Path(np.zeros(0, dtype=np.int64), np.zeros(0), _IMPOSSIBLE)


def viterbi(
    log_probs: Tensor, num_steps: Tensor, labels: Tensor, num_labels: Tensor, *, star_penalty: float = 0.5
) -> list[Path]:
    """Return each item's best path, all items at once. Ties stay in their state, then come from the nearest one.

    Args:
        log_probs: (B, T, V) float32, natural log; anything past num_steps.
        num_steps: (B,) int64, on the CPU.
        labels: (B, N) int64, checked token ids or STAR, 0 past num_labels, on the CPU.
        num_labels: (B,) int64, on the CPU.
        star_penalty: nats per step of a wildcard.
    """
    device = log_probs.device
    num_items, num_rows, vocab_size = log_probs.shape
    if labels.eq(STAR).any():  # one more token: whatever is best
        log_probs = torch.cat([log_probs, log_probs.amax(2, keepdim=True)], dim=2)
    columns = torch.zeros((num_items, 2 * labels.shape[1] + 1), dtype=torch.int64, device=device)
    columns[:, 1::2] = labels.to(device)
    columns = columns.masked_fill(columns == STAR, vocab_size)
    penalty = (columns == vocab_size).to(log_probs.dtype) * star_penalty
    # A blank follows the state before it. A label may skip the blank between, unless the label before is the same.
    no_skip = torch.ones_like(columns, dtype=torch.bool)
    no_skip[:, 3::2] = columns[:, 3::2] == columns[:, 1:-2:2]
    alpha = log_probs.new_full((num_items, columns.shape[1] + 2), _IMPOSSIBLE)  # two columns of padding in front
    alpha[:, 2] = 0.0  # before the first step: as if in the first blank
    moves = torch.zeros((num_rows, *columns.shape), dtype=torch.uint8, device=device)
    lengths = num_steps.to(device)
    by_step = log_probs.transpose(0, 1).contiguous()
    full_until = int(num_steps.min()) if num_items else 0
    for step in range(int(num_steps.max()) if num_items else 0):
        skips = alpha[:, :-2].masked_fill(no_skip, _IMPOSSIBLE)
        best, move = torch.stack([alpha[:, 2:], alpha[:, 1:-1], skips]).max(0)
        best += by_step[step].gather(1, columns) - penalty
        if step >= full_until:
            running = (lengths > step).unsqueeze(1)
            best, move = best.where(running, alpha[:, 2:]), move.where(running, 0)
        moves[step] = move
        alpha = torch.nn.functional.pad(best, (2, 0), value=_IMPOSSIBLE)
    states, scores = _trace(alpha[:, 2:].cpu(), moves.cpu().numpy(), num_labels)
    chosen = log_probs.gather(2, columns.gather(1, torch.from_numpy(states).to(device)).unsqueeze(2)).squeeze(2)
    values = chosen.cpu().numpy().astype(np.float64)
    return [
        Path(states[item, :length], values[item, :length], scores[item])
        for item, length in enumerate(num_steps.tolist())
    ]


def _trace(alpha: Tensor, moves: NDArray[np.uint8], num_labels: Tensor) -> tuple[NDArray[np.int64], list[float]]:
    """Follow the moves back from the better of the last label and the blank after it."""
    last = 2 * num_labels.unsqueeze(1)
    ends = torch.cat([last, (last - 1).clamp(min=0)], dim=1)
    scores, pick = alpha.gather(1, ends).max(1)
    state = ends.gather(1, pick.unsqueeze(1)).squeeze(1).numpy()
    num_rows, num_items, _ = moves.shape
    states = np.zeros((num_items, num_rows), dtype=np.int64)
    items = np.arange(num_items)
    for step in range(num_rows - 1, -1, -1):
        states[:, step] = state
        state = state - moves[step, items, state]
    return states, scores.tolist()


def _native_paths(log_probs: Tensor, num_steps: Tensor, labels: Tensor, num_labels: Tensor) -> list[Path]:
    from torchaudio.functional import forced_align

    paths = []
    for item, (length, count) in enumerate(zip(num_steps.tolist(), num_labels.tolist())):
        values = log_probs[item : item + 1, :length].contiguous()
        if count and not bool(values.isfinite().all()):
            # Where no path reaches a state, forced_align follows pointers that it never wrote.
            rows = slice(item, item + 1)
            paths += viterbi(values, num_steps[rows], labels[rows, :count], num_labels[rows])
            continue
        if count:
            path, scores = forced_align(values, labels[item : item + 1, :count].to(values.device))
        else:  # forced_align refuses an item without labels: the path is all blanks
            path, scores = torch.zeros((1, length), dtype=torch.int64), values[:, :, BLANK]
        chosen = scores[0].cpu().numpy().astype(np.float64)
        paths.append(Path(_states(path[0].cpu().numpy()), chosen, float(chosen.sum())))
    return paths


def _states(path: NDArray[np.int64]) -> NDArray[np.int64]:
    is_label = path != BLANK
    starts = is_label.copy()
    starts[1:] &= path[1:] != path[:-1]
    states: NDArray[np.int64] = 2 * np.cumsum(starts) - is_label
    return states


def _alignment(tokens: list[int], path: Path) -> Alignment:
    in_label = 2 * np.arange(len(tokens)) + 1
    starts = np.searchsorted(path.states, in_label, side="left")
    ends = np.searchsorted(path.states, in_label, side="right")
    posteriors = [np.minimum(np.exp(path.log_probs[start:end]), 1.0) for start, end in zip(starts, ends)]
    return Alignment(
        tokens=tuple(tokens),
        steps=tuple((int(start), int(end)) for start, end in zip(starts, ends)),
        mean_posteriors=tuple(float(values.mean()) for values in posteriors),
        min_posteriors=tuple(float(values.min()) for values in posteriors),
        peaks=tuple(int(start + values.argmax()) for start, values in zip(starts, posteriors)),
        score=path.score,
    )


def _reason(item: int, ids: Sequence[str] | None, needed: int, length: int) -> str:
    name = f"item {item} of the batch" if ids is None else f"'{ids[item]}'"
    if needed > length:
        return (
            f"{name}: its labels need {needed} steps (one each, one more between equal neighbours), it has {length}; "
            "use a model with a smaller stride, or check that text and clip belong together"
        )
    return f"{name}: the model gives every path through its labels probability 0; use labels of the model's vocabulary"
