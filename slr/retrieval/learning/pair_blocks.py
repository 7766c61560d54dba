"""A block of clips and texts on its way to the fine-grained score: cosines, soft choices, and what each token counts.

A stands for clips, C for texts, M for the tokens of a clip, N for those of a text; small letters for those of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from slr.models.dual_encoder import valid_mask
from slr.retrieval.similarity import SAFE_TEMPERATURE

Half = Literal["by_sign", "by_word"]
_CHOSEN_DIM: dict[Half, int] = {"by_sign": 3, "by_word": 1}
"""Of (a, m, c, n): what the soft choice of a half goes over, words for each sign and signs for each word."""


Sizes = tuple[Sequence[int] | None, Sequence[int] | None]
"""Lengths of the clips and of the texts, each in rising order; None where nothing is cut."""


class Settings(NamedTuple):
    """How pairs are scored.

    temperature: of the soft choices, above 0.
    legacy_unmasked: padding takes part in them.
    block_elements: cosines held at a time.
    """

    temperature: float
    legacy_unmasked: bool
    block_elements: int


class Pairs(NamedTuple):
    """Clips and texts that are scored with each other, all of them or those of a block.

    signs: (A, M, D) float32 or float64.
    texts: (C, N, D), likewise.
    sign_valid: (A, M, 1, 1), 1 for a sign and 0 for padding.
    text_valid: (1, 1, C, N), likewise.
    sign_shares: (A, M, 1, 1), what each sign counts in the mean of its clip.
    text_shares: (1, 1, C, N), likewise.
    """

    signs: Tensor
    texts: Tensor
    sign_valid: Tensor
    text_valid: Tensor
    sign_shares: Tensor
    text_shares: Tensor

    @classmethod
    def of(cls, signs: Tensor, texts: Tensor, num_signs: Tensor, num_words: Tensor) -> Pairs:
        """signs: (A, M, D); texts: (C, N, D); their lengths (A,) and (C,) int64."""
        dtype = torch.promote_types(torch.promote_types(signs.dtype, texts.dtype), torch.float32)
        sign_valid = valid_mask(num_signs, signs.shape[1]).to(dtype)[:, :, None, None]
        text_valid = valid_mask(num_words, texts.shape[1]).to(dtype)[None, None]
        return cls(
            signs.to(dtype),
            texts.to(dtype),
            sign_valid,
            text_valid,
            sign_valid / num_signs[:, None, None, None],
            text_valid / num_words[None, None, :, None],
        )

    def cut(self, clips: slice, texts: slice, num_signs: int, num_words: int) -> Pairs:
        """Some clips and texts, each cut to so many tokens."""
        of_signs, of_texts = (clips, slice(num_signs)), (slice(None), slice(None), texts, slice(num_words))
        return Pairs(
            self.signs[of_signs],
            self.texts[of_texts[2:]],
            self.sign_valid[of_signs],
            self.text_valid[of_texts],
            self.sign_shares[of_signs],
            self.text_shares[of_texts],
        )

    def logits(self, temperature: float) -> Tensor:
        """(A, M, C, N), cosines over temperature."""
        cosines = self.signs.flatten(0, 1) @ self.texts.flatten(0, 1).T
        return cosines.div_(temperature).view(*self.signs.shape[:2], *self.texts.shape[:2])

    def valid(self, half: Half) -> Tensor:
        """The tokens that a soft choice of this half is among."""
        return self.text_valid if half == "by_sign" else self.sign_valid

    def shares(self, half: Half) -> Tensor:
        """The tokens that choose in this half."""
        return self.sign_shares if half == "by_sign" else self.text_shares


class Choice(NamedTuple):
    """The soft choices of one half; a 1 stands where they went over.

    weights: (a, m, c, n), zero where a token takes no part.
    total: (a, m, c, 1) or (a, 1, c, n), sum of the weights.
    mean: likewise, weighted mean of the logits.
    """

    weights: Tensor
    total: Tensor
    mean: Tensor


def soft_choices(logits: Tensor, some: Pairs, halves: tuple[Half, ...], settings: Settings) -> list[Choice]:
    """The soft choices of each half. logits: (a, m, c, n)."""
    if settings.temperature < SAFE_TEMPERATURE:
        return [_sharp_choice(logits, half, None if settings.legacy_unmasked else some.valid(half)) for half in halves]
    # No logit is so far from 0 that e to it would leave float32: no maximum to subtract, and one power for both halves.
    weights = logits.exp()
    if not settings.legacy_unmasked:
        for half in halves:
            weights.mul_(some.valid(half))
    weighted, tiny = logits * weights, torch.finfo(logits.dtype).tiny
    totals = [weights.sum(_CHOSEN_DIM[half], keepdim=True).clamp_(min=tiny) for half in halves]
    return [
        Choice(weights, total, weighted.sum(_CHOSEN_DIM[half], keepdim=True) / total)
        for half, total in zip(halves, totals, strict=True)
    ]


def _sharp_choice(logits: Tensor, half: Half, valid: Tensor | None) -> Choice:
    dim = _CHOSEN_DIM[half]
    weights = (logits if valid is None else logits.masked_fill(valid == 0, -torch.inf)).softmax(dim)
    return Choice(weights, weights.new_ones(()), (logits * weights).sum(dim, keepdim=True))


def blocks(pairs: Pairs, sizes: Sizes, limit: int) -> Iterator[tuple[slice, slice, int, int]]:
    """Clips, texts and the tokens of the longest of each, at most `limit` cosines or one pair at a time."""
    (num_clips, most_signs, _), (num_texts, most_words, _) = pairs.signs.shape, pairs.texts.shape
    num_signs, num_words = sizes[0] or [most_signs] * num_clips, sizes[1] or [most_words] * num_texts
    num_pairs = max(1, limit // max(1, most_signs * most_words))
    # About as many of each: the fewest tokens to read for the cosines of a block.
    texts_at_once = max(1, min(num_texts, math.isqrt(num_pairs)))
    clips_at_once = num_pairs // texts_at_once
    for first in range(0, num_clips, clips_at_once):
        clips = slice(first, min(first + clips_at_once, num_clips))
        for start in range(0, num_texts, texts_at_once):
            texts = slice(start, min(start + texts_at_once, num_texts))
            yield clips, texts, num_signs[clips.stop - 1], num_words[texts.stop - 1]
