"""wav2vec 2.0's objective on masked frames only: one matrix of cosines a clip instead of gathered negatives.

Equal to `Wav2Vec2ForPreTraining` of transformers and to fairseq's criterion, given the same masks, negatives and noise;
with 20 s of speech it holds megabytes where those hold gigabytes. Everything here is computed in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.pretraining.masking import Masked, sample_negatives
from asr.pretraining.quantiser import GumbelQuantiser, perplexity

_COSINE_EPSILON = 1e-8  # of torch.cosine_similarity, which both models call


class Scores(NamedTuple):
    """What the contrast of masked frames gives.

    losses: (B, M) float32, 0 where not valid.
    correct: (B, M) bool, the true code scores at least as high as every negative.
    num_excluded: () int64, negatives left out because their code is the true one.
    """

    losses: Tensor
    correct: Tensor
    num_excluded: Tensor


class Loss(NamedTuple):
    """The loss of a batch and the sums behind its figures, which add up over batches and ranks.

    total: () float32, summed over masked frames, weighted penalties included.
    by_clip: (B,) float32, detached, without penalties.
    num_masked: (B,) int64.
    num_correct: () int64, frames whose true code is found.
    num_excluded: () int64, negatives left out.
    num_negatives: () int64, negatives drawn.
    hard_counts: (G, V) float32, how often each code is the best one.
    soft_counts: (G, V) float32, its probability summed over frames.
    """

    total: Tensor
    by_clip: Tensor
    num_masked: Tensor
    num_correct: Tensor
    num_excluded: Tensor
    num_negatives: Tensor
    hard_counts: Tensor
    soft_counts: Tensor


def contrast(predicted: Tensor, targets: Tensor, codes: Tensor, valid: Tensor, negatives: Tensor, *,
             temperature: float = 0.1) -> Scores:  # fmt: skip
    """Tell the true target of each masked frame from those of other masked frames of its clip.

    Args:
        predicted: (B, M, D) float32, from the context.
        targets: (B, M, D) float32, of the quantiser.
        codes: (B, M, G) int64; a negative with the same codes as the true target doesn't count.
        valid: (B, M) bool.
        negatives: (B, M, K) int64 in [0, M), see `sample_negatives`.
        temperature: divides the cosines.
    """
    size = valid.shape[1]
    cosines = torch.bmm(_unit(predicted), _unit(targets).transpose(1, 2)) / temperature
    same = (codes[:, :, None] == codes[:, None]).all(-1) & valid[:, None]
    # How often each position is drawn says all about the negatives: log(count) joins the exponent.
    times = torch.zeros_like(cosines).scatter_add_(
        2, negatives.clamp(max=size - 1), torch.ones_like(negatives, dtype=cosines.dtype)
    )
    num_excluded = (times * same).sum(2)[valid].sum().long()
    times = times.masked_fill(same | ~valid[:, None], 0.0)
    true = cosines.diagonal(dim1=1, dim2=2)
    with torch.no_grad():
        hardest = cosines.masked_fill(times == 0, -torch.inf).amax(2)
        correct = (true >= hardest) & valid
    own = torch.eye(size, dtype=torch.bool, device=times.device)
    weights = times.masked_fill(own, 1.0).log()
    losses = (torch.logsumexp(cosines + weights, dim=2) - true) * valid
    return Scores(losses, correct, num_excluded)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=_COSINE_EPSILON)


class ContrastiveObjective(nn.Module):
    """Quantiser, projections and the loss. Parameters have transformers' names: quantizer, project_hid, project_q.

    Args:
        feature_width: C of the convolutions' features.
        context_width: H of the encoder's states.
        num_groups: of the quantiser.
        num_codes: of each group.
        code_width: of the quantiser's vectors.
        width: in which targets and predictions are compared.
        num_negatives: K.
        temperature: divides the cosines.
        diversity_weight: of the unused share of the codebook.
        penalty_weight: of the mean square of the features; 10 for wav2vec 2.0 Base, 0 for Large and XLS-R.
        dropout: on the features before the quantiser.
    """

    def __init__(
        self,
        feature_width: int,
        context_width: int,
        *,
        num_groups: int = 2,
        num_codes: int = 320,
        code_width: int = 768,
        width: int = 768,
        num_negatives: int = 100,
        temperature: float = 0.1,
        diversity_weight: float = 0.1,
        penalty_weight: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.quantizer = GumbelQuantiser(feature_width, num_groups=num_groups, num_codes=num_codes, width=code_width)
        self.project_hid = nn.Linear(context_width, width)
        self.project_q = nn.Linear(code_width, width)
        self.num_negatives = num_negatives
        self.temperature = temperature
        self.diversity_weight = diversity_weight
        self.penalty_weight = penalty_weight

    def forward(
        self,
        context: Tensor,
        features: Tensor,
        masked: Masked,
        *,
        gumbel_temperature: float,
        penalty: Tensor | None = None,
        negatives: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Loss:
        """Compute the loss of a batch.

        Args:
            context: (B, T, H), states of the encoder over masked features.
            features: (B, T, C), normalised features before masking.
            masked: the masked frames.
            gumbel_temperature: of the quantiser.
            penalty: () mean square of the raw features.
            negatives: (B, M, K) int64; drawn where not given.
            noise: (B, M, G, V) Gumbel noise; drawn where not given.
            generator: on the device of the batch.
        """
        with torch.autocast(context.device.type, enabled=False):
            valid, counts = masked.valid, masked.counts
            frames = self.dropout(masked.take(features).float())
            flat_noise = None if noise is None else noise.flatten(0, 1)
            quantised = self.quantizer(
                frames.flatten(0, 1), temperature=gumbel_temperature, noise=flat_noise, generator=generator
            )
            targets = self.project_q(quantised.vectors).unflatten(0, valid.shape)
            predicted = self.project_hid(masked.take(context).float())
            if negatives is None:
                negatives = sample_negatives(counts, self.num_negatives, generator=generator)
            scores = contrast(predicted, targets, quantised.codes.unflatten(0, valid.shape), valid, negatives,
                              temperature=self.temperature)  # fmt: skip
            by_clip = scores.losses.sum(1)
            hard, soft = _code_counts(quantised.logits, valid.flatten())
            num_masked = counts.sum()
            total = by_clip.sum() + self._penalties(soft, num_masked, penalty)
        return Loss(
            total, by_clip.detach(), counts, scores.correct.sum(), scores.num_excluded,
            num_masked * negatives.shape[2], hard, soft.detach(),
        )  # fmt: skip

    def _penalties(self, soft_counts: Tensor, num_masked: Tensor, penalty: Tensor | None) -> Tensor:
        """Diversity and feature penalty on the scale of the summed loss."""
        num_codes = soft_counts.numel()
        unused = (num_codes - perplexity(soft_counts / num_masked)) / num_codes
        found = self.diversity_weight * unused
        if penalty is not None and self.penalty_weight:
            found = found + self.penalty_weight * penalty.float()
        return found * num_masked


def _code_counts(logits: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """(G, V) how often each code is the best, and (G, V) its probability summed over valid frames."""
    weight = valid.to(logits.dtype)
    soft = torch.einsum("ngv,n->gv", logits.softmax(-1), weight)
    best = logits.detach().argmax(-1)  # (N, G)
    hard = torch.zeros(soft.shape, dtype=logits.dtype, device=logits.device)
    # Sums of ones: exact in any order.
    hard.scatter_add_(1, best.T, weight.expand(best.shape[1], -1))
    return hard, soft
