"""The fine-grained score and its gradient without the tensor of all cosines, for contrastive batches of any size.

CiCo's released code holds a (clips, texts, signs, words) tensor, twice, with everything that the gradient needs of it:
2.2 GB each for 512 clips and texts. Here a block of it exists at a time; the backward pass makes each block again and
knows its gradient in closed form, so that scores and gradients are those of `fine_grained`, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slr.models.dual_encoder import Embedded
from slr.retrieval.learning.pair_blocks import Half, Pairs, Settings, Sizes, blocks, soft_choices
from slr.retrieval.similarity import INNER_TEMPERATURE, Scores, pad_tokens

_BLOCK_ELEMENTS_OF_A_THREAD, _BLOCK_ELEMENTS_OF_A_GPU = 1 << 20, 1 << 24
"""Cosines that exist at a time: what the caches of a core hold; what keeps a GPU busy, some tensors of 64 MB."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def pair_scores(
    signs: Embedded,
    texts: Embedded,
    *,
    swapped: Embedded | None = None,
    temperature: float = INNER_TEMPERATURE,
    legacy_unmasked: bool = False,
    pad_to: tuple[int, int] | None = None,
    block_elements: int | None = None,
) -> Scores:
    """Score every clip with every text, as `fine_grained` does; in float32 under autocast too.

    Args:
        signs: tokens (A, M, D), unit length, zero past num_tokens.
        texts: tokens (C, N, D), unit length, zero past num_tokens.
        swapped: tokens (C, N', D), the same captions with words swapped: the half by words is then of these, as in
            CiCo's training, and costs no more than both halves of one.
        temperature: of the soft choices.
        legacy_unmasked: let padding take part in them; see `fine_grained`.
        pad_to: lengths that the legacy score pads clips and texts to.
        block_elements: cosines held at a time; None fits the device.

    Returns:
        Scores with a gradient for the tokens, but not for that gradient.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    settings = Settings(temperature, legacy_unmasked, block_elements or _block_elements(signs.tokens.device))
    if legacy_unmasked and pad_to is not None:
        signs, texts = pad_tokens(signs, pad_to[0], "clips"), pad_tokens(texts, pad_to[1], "texts")
        swapped = pad_tokens(swapped, pad_to[1], "texts") if swapped is not None else None
    clips = _arranged(signs, settings)
    if swapped is None:
        return Scores(*_scored(clips, _arranged(texts, settings), ("by_sign", "by_word"), settings))
    (by_sign,) = _scored(clips, _arranged(texts, settings), ("by_sign",), settings)
    (by_word,) = _scored(clips, _arranged(swapped, settings), ("by_word",), settings)
    return Scores(by_sign, by_word)


def _block_elements(device: torch.device) -> int:
    if device.type != "cpu":
        return _BLOCK_ELEMENTS_OF_A_GPU
    return _BLOCK_ELEMENTS_OF_A_THREAD * torch.get_num_threads()


class _Side(NamedTuple):
    """Clips or texts in the order in which blocks take them.

    tokens: (B, N, D).
    num_tokens: (B,) int64.
    sizes: B lengths in rising order, to leave out what is padding in a whole block; None where that isn't done.
    back: (B,) int64, place of each item of the caller's order; None if it is the same.
    """

    tokens: Tensor
    num_tokens: Tensor
    sizes: Sequence[int] | None
    back: Tensor | None


def _arranged(side: Embedded, settings: Settings) -> _Side:
    """Items of similar length together. Only where lengths are at hand: a GPU would have to be waited for."""
    if side.num_tokens.device.type != "cpu" or settings.legacy_unmasked:
        return _Side(side.tokens, side.num_tokens, None, None)
    sizes = side.num_tokens.tolist()
    if sizes == sorted(sizes):
        return _Side(side.tokens, side.num_tokens, sizes, None)
    order = side.num_tokens.argsort(stable=True)
    return _Side(side.tokens.index_select(0, order), side.num_tokens[order], sorted(sizes), order.argsort())


def _scored(clips: _Side, texts: _Side, halves: tuple[Half, ...], settings: Settings) -> list[Tensor]:
    """(A, C) of each half, in the caller's order."""
    found = _Scored.apply(  # type: ignore[no-untyped-call]
        clips.tokens, texts.tokens, clips.num_tokens, texts.num_tokens, (clips.sizes, texts.sizes), halves, settings
    )
    if clips.back is not None:
        found = [half.index_select(0, clips.back) for half in found]
    if texts.back is not None:
        found = [half.index_select(1, texts.back) for half in found]
    return list(found)


class _Scored(torch.autograd.Function):
    """Halves of the score, a block at a time, and their gradient by the tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        signs: Tensor,
        texts: Tensor,
        num_signs: Tensor,
        num_words: Tensor,
        sizes: Sizes,
        halves: tuple[Half, ...],
        settings: Settings,
    ) -> tuple[Tensor, ...]:
        """(A, C) of each half, float32, or float64 of such tokens."""
        ctx.save_for_backward(signs, texts, num_signs, num_words)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.halves, ctx.settings = sizes, halves, settings
        pairs = Pairs.of(signs, texts, num_signs, num_words)
        found = tuple(pairs.signs.new_empty(len(signs), len(texts)) for _ in halves)
        with torch.autocast(signs.device.type, enabled=False):
            for a, c, m, n in blocks(pairs, sizes, settings.block_elements):
                some = pairs.cut(a, c, m, n)
                choices = soft_choices(some.logits(settings.temperature), some, halves, settings)
                for half, scores, choice in zip(halves, found, choices, strict=True):
                    scores[a, c] = (choice.mean * some.shares(half)).sum((1, 3)) * settings.temperature
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the tokens.

        With p the soft choice and e its mean of the logits x, the derivative of the mean cosine by a cosine is
        p · (1 + x - e). A half that the loss doesn't use costs nothing.
        """
        signs, texts, num_signs, num_words = ctx.saved_tensors
        settings: Settings = ctx.settings
        wanted = {half: grad for half, grad in zip(ctx.halves, gradients, strict=True) if grad is not None}
        pairs = Pairs.of(signs, texts, num_signs, num_words)
        grad_signs, grad_texts = (
            torch.zeros_like(tokens) if needed else None
            for tokens, needed in zip((pairs.signs, pairs.texts), ctx.needs_input_grad[:2], strict=True)
        )
        with torch.autocast(signs.device.type, enabled=False):
            for a, c, m, n in blocks(pairs, ctx.sizes, settings.block_elements) if wanted else ():
                some = pairs.cut(a, c, m, n)
                change = _change(some, {half: grad[a, c] for half, grad in wanted.items()}, settings)
                if grad_signs is not None:
                    grad_signs[a, :m] += (change @ some.texts.flatten(0, 1)).view_as(some.signs)
                if grad_texts is not None:
                    grad_texts[c, :n] += (change.T @ some.signs.flatten(0, 1)).view_as(some.texts)
        found = (
            grad.to(tokens.dtype) if grad is not None else None
            for grad, tokens in ((grad_signs, signs), (grad_texts, texts))
        )
        return *found, None, None, None, None, None


def _change(some: Pairs, gradients: dict[Half, Tensor], settings: Settings) -> Tensor:
    """(a·m, c·n), gradient by the cosines of a block. gradients: (a, c) by each half, at least one."""
    logits = some.logits(settings.temperature)
    parts = []
    for (half, grad), choice in zip(
        gradients.items(), soft_choices(logits, some, tuple(gradients), settings), strict=True
    ):
        level = grad[:, None, :, None] * some.shares(half) / choice.total
        parts.append((logits * level).add_(level * (1 - choice.mean)).mul_(choice.weights))
    change = parts[0] if len(parts) == 1 else parts[0].add_(parts[1])
    return change.flatten(2).flatten(0, 1)
