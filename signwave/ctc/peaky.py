"""Against peaky CTC posteriors, which name a sign on one step and leave its other steps to the blank.

Three ways, each for training: a bonus on the entropy of single steps; a bonus on the entropy of the paths through the
labels (EnCTC: Liu, Jin and Zhang, NeurIPS 2018); label priors (Huang et al., ICASSP 2024), for alignment as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from signwave.ctc.labels import BLANK, feasible
from signwave.ctc.loss import CtcLoss, Reduction, _reduce, ctc_loss

_IMPOSSIBLE = -1e30
"""Stands for log 0: finite, so that no gradient is NaN, and far below any path's log probability."""


def step_entropy(log_probs: Tensor, num_steps: Tensor) -> Tensor:
    """Mean entropy of the valid steps' distributions, in nats; subtract it from a loss, times a weight.

    Args:
        log_probs: (B, T, V) float, natural log; anything past num_steps.
        num_steps: (B,) int64, steps per item.

    Returns:
        () float32 in [0, log V].
    """
    # Impossible tokens (-inf) add nothing; the clamp keeps 0 * -inf out of value and gradient.
    scores = _without_padding(log_probs, num_steps).clamp(min=_IMPOSSIBLE)
    # Padding is now log 1 = 0 everywhere, whose terms are 0.
    return -(scores.exp() * scores).sum() / num_steps.sum().clamp(min=1)


class PathEntropy(NamedTuple):
    """What `path_entropy` returns.

    Attributes:
        entropy: (B,) float32, nats, of the distribution over the CTC paths through the labels, given the labels; 0
            where there is no path.
        log_likelihood: (B,) float32, nats, of the labels; 0 where there is no path.
        skipped: (B,) bool, items without a path.
    """

    entropy: Tensor
    log_likelihood: Tensor
    skipped: Tensor


def path_entropy(log_probs: Tensor, num_steps: Tensor, labels: Tensor, num_labels: Tensor) -> PathEntropy:
    """Entropy of the paths that spell the labels: H = log Z - E[log p(path)] (EnCTC, equation 7 of the paper).

    The forward recursion carries, beside each state's log sum over paths, the mean log probability of these paths. It
    runs in torch step by step, (B, 2N + 1) states at once, and is differentiated by autograd: several times the time
    of `ctc_loss`, and memory for T such tables.

    Args:
        log_probs: (B, T, V) float, natural log; anything past num_steps.
        num_steps: (B,) int64, steps per item.
        labels: (B, N) int64, token ids in [1, V), checked before; anything past num_labels.
        num_labels: (B,) int64, labels per item.
    """
    device = log_probs.device
    labels, num_labels, num_steps = labels.to(device), num_labels.to(device), num_steps.to(device)
    states, may_skip = _lattice(labels, num_labels)
    scores = _without_padding(log_probs, num_steps).clamp(min=_IMPOSSIBLE)
    scores = scores.gather(2, states[:, None, :].expand(-1, scores.shape[1], -1))
    start = torch.arange(states.shape[1], device=device) <= 1
    total = torch.where(start, scores[:, 0], _IMPOSSIBLE)
    mean = torch.where(start, scores[:, 0], 0.0)
    for step in range(1, scores.shape[1]):
        new_total, new_mean = _advance(total, mean, scores[:, step], may_skip)
        inside = (step < num_steps)[:, None]
        total, mean = torch.where(inside, new_total, total), torch.where(inside, new_mean, mean)
    ends = torch.stack([2 * num_labels, (2 * num_labels - 1).clamp(min=0)], dim=1)
    totals, means = total.gather(1, ends), mean.gather(1, ends)
    # Without labels both ends are the one blank state, which counts once.
    totals = torch.stack([totals[:, 0], torch.where(num_labels > 0, totals[:, 1], _IMPOSSIBLE)], dim=1)
    log_likelihood = totals.logsumexp(1)
    skipped = ~feasible(labels, num_labels, num_steps=num_steps) | (log_likelihood.detach() < _IMPOSSIBLE / 2)
    expected = (torch.softmax(totals, dim=1) * means).sum(1)
    nothing = log_likelihood.new_zeros(())
    return PathEntropy(
        torch.where(skipped, nothing, log_likelihood - expected), torch.where(skipped, nothing, log_likelihood), skipped
    )


def _lattice(labels: Tensor, num_labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2N + 1) int64 tokens of the states, and bool, whether the blank before a state may be skipped."""
    inside = torch.arange(labels.shape[1], device=labels.device) < num_labels[:, None]
    kept = labels.masked_fill(~inside, BLANK)
    states = torch.stack([torch.full_like(kept, BLANK), kept], dim=2).flatten(1)
    states = torch.nn.functional.pad(states, (0, 1), value=BLANK)
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = kept[:, 1:] != kept[:, :-1]
    return states, may_skip


def _advance(total: Tensor, mean: Tensor, scores: Tensor, may_skip: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the recursion; all are (B, states) float32: log sums, mean log probabilities, the step's scores."""
    before = torch.nn.functional.pad(total, (2, 0), value=_IMPOSSIBLE)
    skipped = torch.where(may_skip, before[:, :-2], _IMPOSSIBLE)
    arriving = torch.stack([total, before[:, 1:-1], skipped])
    padded = torch.nn.functional.pad(mean, (2, 0))
    means = torch.stack([mean, padded[:, 1:-1], padded[:, :-2]])
    new_mean = (torch.softmax(arriving, dim=0) * means).sum(0)
    new_total = arriving.logsumexp(0)
    reached = new_total.detach() > _IMPOSSIBLE / 2
    # States that no path has reached stay at log 0 and don't drift.
    return torch.where(reached, new_total + scores, _IMPOSSIBLE), torch.where(reached, new_mean + scores, 0.0)


class LabelPriors(nn.Module):
    """Running mean posterior of each token, by whose power posteriors are divided: p(k | x) / prior(k) ** alpha.

    The blank's prior is by far the highest, so the division takes from the blank and gives to signs. Call `observe`
    on every training batch and `refresh` after each epoch (or every few hundred steps); until the first refresh
    the priors are uniform, which changes nothing. Sums and counts are added over ranks, so the result is exact.

    Args:
        vocab_size: V, with the blank.
        alpha: power, 0 leaves posteriors as they are; the paper takes 0.3 for phones.
        floor: natural log of the lowest prior: tokens that hardly occur aren't lifted further.
    """

    log_priors: Tensor
    _sums: Tensor
    _count: Tensor

    def __init__(self, vocab_size: int, *, alpha: float = 0.3, floor: float = -12.0) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {alpha}")
        self.alpha, self.floor = alpha, floor
        self.register_buffer("log_priors", torch.full((vocab_size,), -float(torch.tensor(vocab_size).log())))
        self.register_buffer("_sums", torch.zeros(vocab_size, dtype=torch.float64))
        self.register_buffer("_count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def observe(self, log_probs: Tensor, num_steps: Tensor) -> None:
        """Count a batch's valid steps. log_probs: (B, T, V) float, natural log; num_steps: (B,) int64."""
        posteriors = torch.where(_valid(log_probs, num_steps)[..., None], log_probs.float().exp(), 0.0)
        self._sums += posteriors.sum((0, 1), dtype=torch.float64)
        self._count += num_steps.sum()

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the priors those of the steps counted since the last refresh, of all ranks; call it on all of them."""
        sums, count = self._sums.clone(), self._count.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(count)
        found = (sums / count.clamp(min=1)).log().clamp(min=self.floor).float()
        self.log_priors.copy_(torch.where(count > 0, found, self.log_priors))
        self._sums.zero_()
        self._count.zero_()

    def divide(self, log_probs: Tensor) -> Tensor:
        """Divide and normalise again: (B, T, V) float32 natural log, for alignment (the best path is the same)."""
        return self._scores(log_probs).log_softmax(2)

    def loss(
        self,
        log_probs: Tensor,
        num_steps: Tensor,
        labels: Tensor,
        num_labels: Tensor,
        *,
        ids: Sequence[str] | None = None,
        reduction: Reduction = "mean_per_item",
    ) -> CtcLoss:
        """CTC loss of the divided posteriors (equation 4 of the paper), which don't sum to one; may be below 0.

        torch's gradient is only right for scores that do. So the loss is taken of the normalised scores, and the
        normalisers, one per step and the same for every path, are taken out of it again.

        Args:
            log_probs: (B, T, V) float, natural log, normalised; anything past num_steps.
            num_steps: (B,) int64.
            labels: (B, N) int64 in [1, V); anything past num_labels.
            num_labels: (B,) int64.
            ids: names of the items for error messages.
            reduction: as for `ctc_loss`.
        """
        scores = self._scores(_without_padding(log_probs, num_steps))
        plain = ctc_loss(scores.log_softmax(2), num_steps, labels, num_labels, ids=ids, reduction=reduction)
        norms = (scores.logsumexp(2) * _valid(scores, num_steps)).sum(1)
        per_item = torch.where(plain.skipped, plain.per_item, plain.per_item - norms)
        num_labels = num_labels.to(log_probs.device)
        loss = _reduce(per_item, num_labels, ~plain.skipped, reduction)
        return CtcLoss(loss, per_item, plain.num_skipped, plain.skipped)

    def _scores(self, log_probs: Tensor) -> Tensor:
        return log_probs.float() - self.alpha * self.log_priors


def _without_padding(log_probs: Tensor, num_steps: Tensor) -> Tensor:
    """(B, T, V) float32 with zeros past num_steps, so that neither a value nor a gradient of padding counts."""
    return torch.where(_valid(log_probs, num_steps)[..., None], log_probs.float(), 0.0)


def _valid(log_probs: Tensor, num_steps: Tensor) -> Tensor:
    return torch.arange(log_probs.shape[1], device=log_probs.device) < num_steps.to(log_probs.device)[:, None]
