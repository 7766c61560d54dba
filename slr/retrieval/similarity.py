"""How well a clip and a text fit: CiCo's sign x word score, and a contrastive loss for groups of clips and captions.

A stands for clips, C for texts, M for the tokens of a clip, N for those of a text.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from slr.models.dual_encoder import Embedded, valid_mask

INNER_TEMPERATURE = 0.07
"""CiCo's temperature of the soft choice of a word for each sign and of a sign for each word."""

SAFE_TEMPERATURE = 0.03
"""From here on exp(cosine / temperature) is far from both ends of float32 for every cosine."""

RELEASED_LENGTHS = (65, 32)
"""Tokens that CiCo's released code pads every clip (64 windows and a class token) and every text to."""

_TEXTS_AT_ONCE, _CLIPS_AT_ONCE = 16, 32
"""A block of cosines that fits the caches of a CPU: half the time of one that doesn't."""

Normalisation = Literal["per_positive", "one_to_k", "any_positive"]
"""How several positives of one row share the loss.

per_positive: mean over the positives, in both directions (the default): 1-to-K's, with its text side at full weight.
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
    legacy_unmasked: bool = False,
    pad_to: tuple[int, int] | None = None,
) -> Scores:
    """Score every clip with every text.

    Args:
        signs: tokens (A, M, D) float32, unit length, zero past num_tokens.
        texts: tokens (C, N, D) float32, unit length, zero past num_tokens.
        temperature: towards 0 the score becomes MaxSim, towards infinity the product of the mean tokens.
        legacy_unmasked: let all M and N positions take part in the soft choices, as CiCo's released code does.
            Zero padding is then a token of cosine 0 to everything. In the released code padding and the class token
            hold what the towers give there: for its numbers to the last digit hand over such tokens, those past
            num_tokens in any order.
        pad_to: lengths that the legacy score pads clips and texts to, RELEASED_LENGTHS to be like the released code;
            without them a score depends on the longest item beside it. The masked score doesn't need any.

    Raises:
        ValueError: temperature is not above 0, or tokens are wider than pad_to.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if legacy_unmasked and pad_to is not None:
        signs, texts = pad_tokens(signs, pad_to[0], "clips"), pad_tokens(texts, pad_to[1], "texts")
    num_clips, num_signs, _ = signs.tokens.shape
    num_texts, num_words, _ = texts.tokens.shape
    with torch.autocast(signs.tokens.device.type, enabled=False):
        cosines = signs.tokens.flatten(0, 1) @ texts.tokens.flatten(0, 1).T
    cosines = cosines.view(num_clips, num_signs, num_texts, num_words)
    sign_valid = valid_mask(signs.num_tokens, num_signs)[:, :, None, None].to(cosines)
    text_valid = valid_mask(texts.num_tokens, num_words)[None, None].to(cosines)
    over_words, over_signs = _soft_choices(
        cosines,
        torch.ones_like(sign_valid) if legacy_unmasked else sign_valid,
        torch.ones_like(text_valid) if legacy_unmasked else text_valid,
        temperature,
    )
    by_sign = (over_words * sign_valid[..., 0]).sum(dim=1) / signs.num_tokens[:, None]
    by_word = (over_signs * text_valid[:, 0]).sum(dim=2) / texts.num_tokens[None, :]
    return Scores(by_sign, by_word)


def pad_tokens(side: Embedded, length: int, what: str) -> Embedded:
    """Tokens (B, length, D), zeros added. what: "clips" or "texts", for the error if there are more already."""
    size = side.tokens.shape[1]
    if size > length:
        raise ValueError(f"{what} of {size} tokens don't fit the {length} that the legacy score pads to; cut them")
    return side._replace(tokens=functional.pad(side.tokens, (0, 0, 0, length - size)))


def _soft_choices(cosines: Tensor, sign_mask: Tensor, text_mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Soft-max weighted cosines over the words (A, M, C) and over the signs (A, C, N)."""
    if temperature >= SAFE_TEMPERATURE:
        # Without a maximum to subtract, one exponential serves both soft-maxes: less than half the time.
        weights = (cosines / temperature).exp() * sign_mask * text_mask
        weighted = cosines * weights
        floor = torch.finfo(cosines.dtype).tiny
        return weighted.sum(3) / weights.sum(3).clamp_min(floor), weighted.sum(1) / weights.sum(1).clamp_min(floor)
    logits = cosines / temperature
    words = logits.masked_fill(text_mask == 0, -torch.inf).softmax(dim=3)
    signs = logits.masked_fill(sign_mask == 0, -torch.inf).softmax(dim=1)
    return (cosines * words).sum(dim=3), (cosines * signs).sum(dim=1)


@torch.no_grad()
def exact_scores(
    texts: Embedded,
    clips: Embedded,
    *,
    temperature: float = INNER_TEMPERATURE,
    legacy_unmasked: bool = False,
    pad_to: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Fine-grained score of every text with every clip: (texts, clips) float32 in [-1, 1], a block at a time."""
    options: dict[str, Any] = {
        "temperature": temperature,
        "legacy_unmasked": legacy_unmasked,
        "pad_to": pad_to,
    }
    rows = []
    for start in range(0, len(texts.pooled), _TEXTS_AT_ONCE):
        some = Embedded(*(part[start : start + _TEXTS_AT_ONCE] for part in texts))
        blocks = [
            fine_grained(Embedded(*(part[first : first + _CLIPS_AT_ONCE] for part in clips)), some, **options).mean.T
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
    log_probs = functional.log_softmax(logits, dim=1)
    if normalisation == "any_positive":
        # A row without a positive would be infinite; its value is not used, and neither is its gradient.
        wanted = positive | ~used[:, None]
        rows = -log_probs.masked_fill(~wanted, -torch.inf).logsumexp(dim=1)
    else:
        rows = -(log_probs * positive).sum(dim=1)
        if normalisation == "per_positive":
            rows = rows / positive.sum(dim=1).clamp(min=1)
    # No choice of rows by a mask: the device would have to tell how many there are.
    return torch.where(used, rows, 0.0).sum() / used.sum().clamp(min=1)


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
    if positive.device.type == "cpu" and not bool(positive.any()):
        raise ValueError("the batch holds no clip with a text of its group; check the group ids")
    clips = [rows_loss(half, positive, normalisation) for half in (by_sign, by_word)]
    # 1-to-K has one performance per group, so its text side is a plain mean even where the clip side is a sum.
    column_rule: Normalisation = "per_positive" if normalisation == "one_to_k" else normalisation
    texts = [rows_loss(half.T, positive.T, column_rule) for half in (by_sign, by_word)]
    first = dual_mix * clips[0] + (1 - dual_mix) * texts[0]
    second = dual_mix * texts[1] + (1 - dual_mix) * clips[1]
    loss = (first + second) / 2
    if normalisation == "one_to_k":
        # K is the mean over the clips that have a caption.
        loss = loss / (positive.sum() / positive.any(dim=1).sum().clamp(min=1)).clamp(min=1)
    return loss
