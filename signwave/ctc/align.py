"""Forced alignment: the most probable CTC path through known labels, for a whole batch at once.

A Viterbi search over all items and states of a step. The same lines run on NumPy arrays on a CPU, whose calls cost half
of what torch's do on so little data, and on tensors on a GPU.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
_STEPS_AT_ONCE = 256
"""So many rows of emissions are gathered at once: long audio with long text would fill the memory with them."""


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
        backend: "auto" searches NumPy arrays on a CPU and tensors on a GPU, "torch" tensors on either. "torchaudio"
            calls `torchaudio.functional.forced_align` item by item, for comparison: where two ways into a state are
            equally good, it may take a worse third.
        on_infeasible: an item without a path is an error, or gives None and a log line that says why.
        ids: names of the items for messages.
        star_penalty: nats per step of a wildcard, so that a real label that fits wins the step.

    Raises:
        LabelError: a label can't be used or, with "raise", an item has no path; names the item.
    """
    # amax hands NaN on, and costs a tenth of asking every value whether it is one.
    best = log_probs.detach().amax(2, keepdim=True) if log_probs.ndim == 3 and log_probs.numel() else log_probs
    lengths = check_log_probs(best, num_steps)
    labels, num_labels, num_steps = labels.cpu(), num_labels.cpu(), num_steps.cpu()
    check_labels(labels, num_labels, vocab_size=log_probs.shape[2], ids=ids, allow_star=True)
    labels = labels[:, : int(num_labels.max()) if num_labels.numel() else 0]
    inside = torch.arange(labels.shape[1]) < num_labels.unsqueeze(1)
    labels = labels.masked_fill(~inside, BLANK).to(torch.int64)
    if backend == "torchaudio" and bool((labels == STAR).any()):
        raise ValueError("backend 'torchaudio' knows no wildcard; use 'torch' or 'auto'")
    needed = required_steps(labels, num_labels).tolist()
    result: list[Alignment | None] = [None] * len(lengths)
    usable = [item for item, length in enumerate(lengths) if needed[item] <= length]
    if usable:
        chosen = torch.tensor(usable)
        on_device = slice(None) if len(usable) == len(lengths) else chosen.to(log_probs.device)
        lattice = _Lattice.of(log_probs[on_device], best[on_device], num_steps[chosen], labels[chosen], star_penalty)
        search = _torchaudio_states if backend == "torchaudio" else _viterbi
        states, reached = search(lattice, num_labels[chosen], tensors=backend == "torch" or log_probs.is_cuda)
        for item, alignment in zip(usable, _alignments(lattice, states, reached, num_labels[chosen]), strict=True):
            result[item] = alignment
    for item, alignment in enumerate(result):
        if alignment is None:
            reason = _reason(item, ids, needed[item], lengths[item])
            if on_infeasible == "raise":
                raise LabelError(reason)
            _logger.warning("%s; not aligned", reason)
    return result


@dataclass(frozen=True)
class _Lattice:
    """What paths run through: of N labels S = 2 N + 1 states, a blank before, between and after the labels.

    Attributes:
        log_probs: (B, T, V) float32 or float64, natural log; anything past num_steps.
        best: (B, T, 1), of the likeliest token of each step.
        columns: (B, S) int64, the token of each state, STAR for a wildcard, the blank past the item's labels.
        num_steps: (B,) int64, on the CPU.
        star_penalty: nats per step of a wildcard.
        with_star: there is one.
    """

    log_probs: Tensor
    best: Tensor
    columns: Tensor
    num_steps: Tensor
    star_penalty: float
    with_star: bool

    @classmethod
    def of(cls, log_probs: Tensor, best: Tensor, num_steps: Tensor, labels: Tensor, star_penalty: float) -> _Lattice:
        columns = torch.zeros((labels.shape[0], 2 * labels.shape[1] + 1), dtype=torch.int64)
        columns[:, 1::2] = labels
        log_probs, best = (x.detach() if x.dtype == torch.float64 else x.detach().float() for x in (log_probs, best))
        with_star = bool((labels == STAR).any())
        return cls(log_probs, best, columns.to(log_probs.device), num_steps, star_penalty, with_star)

    def emissions(self, first: int, stop: int) -> Tensor:
        """(stop - first, B, S), what each state adds to a path at each of these steps."""
        size = min(stop, self.log_probs.shape[1]) - first
        places = self.columns.clamp(min=0).unsqueeze(1).expand(-1, size, -1)
        values = self.log_probs[:, first:stop].gather(2, places)
        if self.with_star:
            starred = (self.columns == STAR).unsqueeze(1)
            values = values.where(~starred, self.best[:, first:stop] - self.star_penalty)
        return values.transpose(0, 1).contiguous()

    def path(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Follow a path; returns (B, T) log probabilities of its steps, and where it is in a wildcard.

        Args:
            states: (B, T) int64 in [0, S).
        """
        tokens = self.columns.gather(1, states)
        values = self.log_probs.gather(2, tokens.clamp(min=0).unsqueeze(2)).squeeze(2)
        starred = tokens == STAR
        return values.where(~starred, self.best.squeeze(2)) if self.with_star else values, starred


States = tuple[NDArray[np.int64], NDArray[np.bool_]]


def _viterbi(lattice: _Lattice, num_labels: Tensor, *, tensors: bool) -> States:
    """Find each item's best path, all items at once. Ties stay in their state, then come from the nearest one.

    Args:
        lattice: of the items.
        num_labels: (B,) int64, on the CPU.
        tensors: search on tensors, which may lie on a GPU, instead of on NumPy arrays.

    Returns:
        states: (B, T) int64, 2 n + 1 in the n-th label, even in a blank; anything past num_steps.
        reached: (B,) bool, whether there is a path of a probability above 0.
    """
    num_items, num_states = lattice.columns.shape
    longest = int(lattice.num_steps.max())
    xp: Any = torch if tensors else np

    def native(tensor: Tensor) -> Any:
        return tensor if tensors else tensor.numpy()

    # A label may skip the blank before it, unless the label before that is the same. Two columns of padding in front.
    skips = lattice.log_probs.new_full((num_items, num_states), _IMPOSSIBLE)
    skips[:, 3::2].masked_fill_(lattice.columns[:, 3::2] != lattice.columns[:, 1:-2:2], 0.0)
    alpha = lattice.log_probs.new_full((num_items, num_states + 2), _IMPOSSIBLE)
    alpha[:, 2] = 0.0  # before the first step: as if in the first blank
    moves = torch.empty((longest, num_items, num_states), dtype=torch.uint8, device=alpha.device)
    final, before, best, skipped = (native(x) for x in (alpha.clone(), alpha, skips.clone(), skips.clone()))
    stay, near, far, skip, all_moves = before[:, 2:], before[:, 1:-1], before[:, :-2], native(skips), native(moves)
    ends: dict[int, list[int]] = defaultdict(list)
    for item, length in enumerate(lattice.num_steps.tolist()):
        ends[length].append(item)
    with np.errstate(invalid="ignore"):  # past the end of an item may be anything
        for first in range(0, longest, _STEPS_AT_ONCE):
            stop = min(first + _STEPS_AT_ONCE, longest)
            emissions = native(lattice.emissions(first, stop))
            is_near, is_far = native(torch.empty((2, *emissions.shape), dtype=torch.bool, device=moves.device))
            for step in range(first, stop):
                place = step - first
                xp.greater(near, stay, out=is_near[place])
                xp.maximum(near, stay, out=best)
                xp.add(far, skip, out=skipped)
                xp.greater(skipped, best, out=is_far[place])
                xp.maximum(skipped, best, out=best)
                xp.add(best, emissions[place], out=stay)
                if step + 1 in ends:
                    final[ends[step + 1]] = before[ends[step + 1]]
            xp.add((is_near | is_far).view(xp.uint8), is_far.view(xp.uint8), out=all_moves[first:stop])
    ended = torch.as_tensor(final)[:, 2:].cpu()
    last = 2 * num_labels.unsqueeze(1)
    scores, pick = ended.gather(1, torch.cat([last, (last - 1).clamp(min=0)], dim=1)).max(1)
    state = (last.squeeze(1) - pick).clamp(min=0).numpy()
    return _trace(state, moves.cpu().numpy(), lattice), (scores > _IMPOSSIBLE).numpy()


def _trace(state: NDArray[np.int64], moves: NDArray[np.uint8], lattice: _Lattice) -> NDArray[np.int64]:
    """Follow the moves back from the last state of each item."""
    longest, num_items, num_states = moves.shape
    lengths = lattice.num_steps.numpy()
    moves[np.arange(longest)[:, None] >= lengths] = 0
    states = np.zeros((num_items, lattice.log_probs.shape[1]), dtype=np.int64)
    rows = np.arange(num_items) * num_states
    for step in range(longest - 1, -1, -1):
        states[:, step] = state
        state = state - moves[step].ravel().take(rows + state)
    return states


def _torchaudio_states(lattice: _Lattice, num_labels: Tensor, *, tensors: bool) -> States:
    from torchaudio.functional import forced_align

    states = np.zeros(tuple(lattice.log_probs.shape[:2]), dtype=np.int64)
    reached = np.ones(len(states), dtype=np.bool_)
    labels = lattice.columns[:, 1::2].contiguous()
    for item, (length, count) in enumerate(zip(lattice.num_steps.tolist(), num_labels.tolist())):
        rows = slice(item, item + 1)
        values = lattice.log_probs[rows, :length].contiguous()
        if not count:  # forced_align refuses an item without labels: the path is all blanks
            continue
        if float(values.amin()) == _IMPOSSIBLE:
            # Where no path reaches a state, forced_align follows pointers that it never wrote.
            parts = (values, lattice.best[rows, :length], lattice.num_steps[rows], labels[rows, :count].cpu(), 0.0)
            states[rows, :length], reached[rows] = _viterbi(_Lattice.of(*parts), num_labels[rows], tensors=tensors)
            continue
        path = forced_align(values, labels[rows, :count])[0][0].cpu().numpy()
        is_label = path != BLANK
        starts = is_label.copy()
        starts[1:] &= path[1:] != path[:-1]
        states[item, :length] = 2 * np.cumsum(starts) - is_label
    return states, reached


def _alignments(
    lattice: _Lattice, states: NDArray[np.int64], reached: NDArray[np.bool_], num_labels: Tensor
) -> list[Alignment | None]:
    """Spans and posteriors of all labels of a batch at once; None for an item without a path."""
    values, starred = (x.cpu().numpy() for x in lattice.path(torch.from_numpy(states).to(lattice.columns.device)))
    num_items, num_rows = states.shape
    num_states = lattice.columns.shape[1]
    past = np.arange(num_rows) >= lattice.num_steps.numpy()[:, None]
    nats = np.where(past, 0.0, values.astype(np.float64))
    scores = (nats - lattice.star_penalty * (starred & ~past)).sum(1).tolist()
    # All items behind each other on one line, on which states only rise.
    line = np.where(past, num_states, states) + np.arange(num_items)[:, None] * (num_states + 1)
    items, places = np.nonzero((np.arange(num_states // 2) < num_labels.numpy()[:, None]) & reached[:, None])
    wanted = items * (num_states + 1) + 2 * places + 1
    starts, ends = (np.searchsorted(line.ravel(), wanted, side=side) for side in ("left", "right"))
    means, least, peaks = _statistics(np.minimum(np.exp(nats), 1.0).ravel(), starts, ends)
    spans = list(zip((starts - items * num_rows).tolist(), (ends - items * num_rows).tolist()))
    mean_of, least_of, peak_of = means.tolist(), least.tolist(), (peaks - items * num_rows).tolist()
    found: list[Alignment | None] = []
    first = 0
    for item, (tokens, count) in enumerate(zip(lattice.columns[:, 1::2].tolist(), num_labels.tolist())):
        if not reached[item]:
            found.append(None)
            continue
        part = slice(first, first + count)
        posteriors = (tuple(mean_of[part]), tuple(least_of[part]), tuple(peak_of[part]))
        found.append(Alignment(tuple(tokens[:count]), tuple(spans[part]), *posteriors, scores[item]))
        first += count
    return found


def _statistics(
    values: NDArray[np.float64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean, least and place of the highest value of each span; none is empty."""
    if not len(starts):
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    sizes = ends - starts
    firsts = np.cumsum(sizes) - sizes
    places = np.arange(sizes.sum()) + np.repeat(starts - firsts, sizes)
    inside = values[places]
    highest = np.flatnonzero(inside == np.repeat(np.maximum.reduceat(inside, firsts), sizes))
    peaks = places[highest[np.searchsorted(highest, firsts)]]
    return np.add.reduceat(inside, firsts) / sizes, np.minimum.reduceat(inside, firsts), peaks


def _reason(item: int, ids: Sequence[str] | None, needed: int, length: int) -> str:
    name = f"item {item} of the batch" if ids is None else f"'{ids[item]}'"
    if needed > length:
        return (
            f"{name}: its labels need {needed} steps (one each, one more between equal neighbours), it has {length}; "
            "use a model with a smaller stride, or check that text and clip belong together"
        )
    return f"{name}: the model gives every path through its labels probability 0; use labels of the model's vocabulary"
