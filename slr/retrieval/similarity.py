"""How well a clip and a text fit: CiCo's sign x word score, and a contrastive loss for groups of clips and captions.

A stands for clips, C for texts, M for the tokens of a clip, N for those of a text.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from slr.models.dual_encoder import Embedded, valid_mask

INNER_TEMPERATURE = 0.07
"""CiCo's temperature of the soft choice of a word for each sign and of a sign for each word."""

SAFE_TEMPERATURE = 0.03
"""From here on exp((cosine - 1) / temperature) stays a normal float32 for every cosine."""

_TEXTS_AT_ONCE, _CLIPS_AT_ONCE = 64, 256

Normalisation = Literal["per_positive", "one_to_k", "any_positive"]
"""How several positives of one row share the loss.

per_positive: mean over the positives, in both directions (the default).
one_to_k: as 1-to-K's released code: clips sum over their K captions, texts take the mean, all is divided by K.
any_positive: minus the log of the positives' summed probability; its floor is 0.
"""


class Scores(NamedTuple):
    """Both halves of the fine-grained score.

    by_sign: (A, C) float32 in [-1, 1], each sign chooses softly among the words; mean over signs.
    by_word: (A, C) float32 in [-1, 1], each word chooses softly among the signs; mean over words.
    """

    by_sign: Tensor
    by_word: Tensor

    @property
    def mean(self) -> Tensor:
        """(A, C) float32 in [-1, 1], what ranking uses."""
        return (self.by_sign + self.by_word) / 2


def fine_grained(
    signs: Embedded,
    texts: Embedded,
    *,
    temperature: float = INNER_TEMPERATURE,
    legacy_unmasked_softmax: bool = False,
) -> Scores:
    """Score every clip with every text.

    Args:
        signs: tokens (A, M, D) float32, unit length, zero past num_tokens.
        texts: tokens (C, N, D) float32, unit length, zero past num_tokens.
        temperature: towards 0 the score becomes MaxSim, towards infinity the product of the mean tokens.
        legacy_unmasked_softmax: let padding take part in the soft choice, as CiCo's released code does; the score
            then depends on how far the batch is padded.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    num_clips, num_signs, _ = signs.tokens.shape
    num_texts, num_words, _ = texts.tokens.shape
    cosines = signs.tokens.flatten(0, 1) @ texts.tokens.flatten(0, 1).T
    cosines = cosines.view(num_clips, num_signs, num_texts, num_words)
    sign_valid = valid_mask(signs.num_tokens, num_signs)[:, :, None, None].to(cosines)
    text_valid = valid_mask(texts.num_tokens, num_words)[None, None].to(cosines)
    over_words, over_signs = _soft_choices(
        cosines,
        torch.ones_like(sign_valid) if legacy_unmasked_softmax else sign_valid,
        torch.ones_like(text_valid) if legacy_unmasked_softmax else text_valid,
        temperature,
    )
    by_sign = (over_words * sign_valid[..., 0]).sum(dim=1) / signs.num_tokens[:, None]
    by_word = (over_signs * text_valid[:, 0]).sum(dim=2) / texts.num_tokens[None, :]
    return Scores(by_sign, by_word)


def _soft_choices(cosines: Tensor, sign_mask: Tensor, text_mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Soft-max weighted cosines over the words (A, M, C) and over the signs (A, C, N)."""
    if temperature >= SAFE_TEMPERATURE:
        # Cosines are at most 1, so one exponential with a fixed shift serves both soft-maxes: less than half the time.
        weights = ((cosines - 1) / temperature).exp() * sign_mask * text_mask
        weighted = cosines * weights
        floor = torch.finfo(cosines.dtype).tiny
        return weighted.sum(3) / weights.sum(3).clamp_min(floor), weighted.sum(1) / weights.sum(1).clamp_min(floor)
    logits = cosines / temperature
    words = logits.masked_fill(text_mask == 0, -torch.inf).softmax(dim=3)
    signs = logits.masked_fill(sign_mask == 0, -torch.inf).softmax(dim=1)
    return (cosines * words).sum(dim=3), (cosines * signs).sum(dim=1)


@torch.no_grad()
def exact_scores(texts: Embedded, clips: Embedded) -> NDArray[np.float32]:
    """Fine-grained score of every text with every clip: (texts, clips) float32 in [-1, 1], a block at a time."""
    rows = []
    for start in range(0, len(texts.pooled), _TEXTS_AT_ONCE):
        some = Embedded(*(part[start : start + _TEXTS_AT_ONCE] for part in texts))
        blocks = [
            fine_grained(Embedded(*(part[first : first + _CLIPS_AT_ONCE] for part in clips)), some).mean.T
            for first in range(0, len(clips.pooled), _CLIPS_AT_ONCE)
        ]
        rows.append(torch.cat(blocks, dim=1))
    return np.asarray(torch.cat(rows).float().cpu().numpy(), dtype=np.float32)


def rows_loss(logits: Tensor, positive: Tensor, normalisation: Normalisation = "per_positive") -> Tensor:
    """Cross-entropy of each row against its positives, mean over the rows that have one.

    Args:
        logits: (R, C) float32, scaled scores.
        positive: (R, C) bool, true where row and column belong together.
        normalisation: see Normalisation; "one_to_k" here is the sum over the positives.
    """
    used = positive.any(dim=1)
    logits, positive = logits[used], positive[used]
    log_probs = functional.log_softmax(logits, dim=1)
    if normalisation == "any_positive":
        return -log_probs.masked_fill(~positive, -torch.inf).logsumexp(dim=1).mean()
    total = -(log_probs * positive).sum(dim=1)
    if normalisation == "one_to_k":
        return total.mean()
    return (total / positive.sum(dim=1)).mean()


def contrastive_loss(
    by_sign: Tensor,
    by_word: Tensor,
    positive: Tensor,
    *,
    dual_mix: float = 0.5,
    normalisation: Normalisation = "per_positive",
) -> Tensor:
    """CiCo's symmetric loss with several positives per row and column. One each is CiCo's; equal halves are InfoNCE.

    Args:
        by_sign: (A, C) float32, scaled scores of the sign half.
        by_word: (A, C) float32, scaled scores of the word half.
        positive: (A, C) bool, clip and text belong to the same group; every clip has a text and the reverse.
        dual_mix: weight of each half's own direction.
        normalisation: how several positives share the loss.
    """
    if not bool(positive.any()):
        raise ValueError("the batch holds no clip with a text of its group; check the group ids")
    clips = [rows_loss(half, positive, normalisation) for half in (by_sign, by_word)]
    # 1-to-K has one performance per group, so its text side is a plain mean even where the clip side is a sum.
    column_rule: Normalisation = "per_positive" if normalisation == "one_to_k" else normalisation
    texts = [rows_loss(half.T, positive.T, column_rule) for half in (by_sign, by_word)]
    first = dual_mix * clips[0] + (1 - dual_mix) * texts[0]
    second = dual_mix * texts[1] + (1 - dual_mix) * clips[1]
    loss = (first + second) / 2
    if normalisation == "one_to_k":
        loss = loss / positive.sum(dim=1).float().mean()
    return loss
