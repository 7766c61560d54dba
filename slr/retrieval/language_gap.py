"""What two languages say of the same clip, drawn together: an option on top of the contrastive loss."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

_NEVER = -1e9


def language_gap(logits: Tensor, text_groups: Tensor, text_languages: Tensor, num_languages: int) -> Tensor:
    """How much it depends on the language which sentence a clip seems to perform.

    For each clip and each two languages: the Kullback-Leibler divergence, mean of both directions, between the
    soft-max over the sentences that have captions in both. Several captions of a sentence in one language count as the
    mean of their logits.

    Args:
        logits: (A, C) float32, scaled scores of clips and texts; what `contrastive_loss` takes.
        text_groups: (C,) int64, equal for captions of the same sentence.
        text_languages: (C,) int64 from 0 to num_languages - 1; under several processes the same number in all of them.
        num_languages: how many there may be.

    Returns:
        () float32, at least 0: the mean over clips and over the pairs of languages that share two sentences or more; 0
        without such a pair.
    """
    columns = torch.arange(len(text_groups), device=logits.device)
    # The first column of its group stands for a sentence.
    owner = (text_groups[:, None] == text_groups[None, :]).int().argmax(dim=1)
    sentences = []
    for language in range(num_languages):
        spoken = (text_languages == language).to(logits.dtype)
        count = torch.zeros_like(spoken).index_add(0, owner, spoken)
        total = torch.zeros_like(logits).index_add(1, owner, logits * spoken)
        sentences.append((total / count.clamp(min=1), (count > 0) & (owner == columns)))
    gap, num_pairs = logits.new_zeros(()), logits.new_zeros(())
    for (one, in_one), (other, in_other) in combinations(sentences, 2):
        shared = in_one & in_other
        first, second = (functional.log_softmax(some.masked_fill(~shared, _NEVER), dim=1) for some in (one, other))
        found = ((first.exp() - second.exp()) * (first - second)).sum(dim=1).mean() / 2
        counts = shared.sum() >= 2
        gap, num_pairs = gap + torch.where(counts, found, 0.0), num_pairs + counts
    return gap / num_pairs.clamp(min=1)
