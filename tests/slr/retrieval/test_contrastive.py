"""The score in blocks against the one that holds everything: values, gradients, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slr.models.dual_encoder import Embedded
from slr.retrieval.learning.contrastive import pair_scores
from slr.retrieval.similarity import Scores, contrastive_loss, fine_grained

CLIP_LENGTHS, TEXT_LENGTHS, SWAPPED_LENGTHS = [4, 9, 1, 6, 2], [3, 1, 5, 2], [2, 6, 1, 3]


def made_up(lengths: list[int], seed: int, dim: int = 7, dtype: torch.dtype = torch.float32) -> Embedded:
    draw = torch.Generator().manual_seed(seed)
    tokens = functional.normalize(torch.randn(len(lengths), max(lengths), dim, generator=draw, dtype=dtype), dim=-1)
    num_tokens = torch.tensor(lengths)
    valid = torch.arange(max(lengths)) < num_tokens[:, None]
    return Embedded((tokens * valid[..., None]).requires_grad_(), num_tokens, tokens[:, 0])


def sides(*lengths: list[int]) -> list[Embedded]:
    return [made_up(some, seed) for seed, some in enumerate(lengths)]


def gradients(score: Callable[..., Scores], *embedded: Embedded, **options: Any) -> list[Tensor]:
    """Both halves, and the gradients by all tokens of a sum in which every pair weighs something else."""
    scores = score(*embedded, **options)
    draw = torch.Generator().manual_seed(9)
    weights = [torch.randn(half.shape, generator=draw).to(half.device) for half in scores]
    loss = sum((half * weight).sum() for half, weight in zip(scores, weights, strict=True))
    found = torch.autograd.grad(loss, [side.tokens for side in embedded])
    return [scores.by_sign.detach(), scores.by_word.detach(), *found]


def naive_swapped(clips: Embedded, texts: Embedded, swapped: Embedded, **options: Any) -> Scores:
    return Scores(fine_grained(clips, texts, **options).by_sign, fine_grained(clips, swapped, **options).by_word)


def pairs_swapped(clips: Embedded, texts: Embedded, swapped: Embedded, **options: Any) -> Scores:
    return pair_scores(clips, texts, swapped=swapped, **options)


@pytest.mark.parametrize("block_elements", [1, 200, None])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_scores_and_gradients_are_those_of_the_naive_version(
    temperature: float, legacy: bool, block_elements: int | None
) -> None:
    clips, texts, swapped = sides(CLIP_LENGTHS, TEXT_LENGTHS, SWAPPED_LENGTHS)
    naive = {"temperature": temperature, "legacy_unmasked": legacy}
    ours = {"temperature": temperature, "legacy_unmasked": legacy, "block_elements": block_elements}
    for expected, found in (
        (gradients(fine_grained, clips, texts, **naive), gradients(pair_scores, clips, texts, **ours)),
        (
            gradients(naive_swapped, clips, texts, swapped, **naive),
            gradients(pairs_swapped, clips, texts, swapped, **ours),
        ),
    ):
        for one, other in zip(expected, found, strict=True):
            # A sharp soft-max has gradients far above 1; the rounding of a float32 grows with them.
            torch.testing.assert_close(other, one, atol=1e-5 * max(1.0, float(one.abs().max())), rtol=0)


def test_fixed_lengths_of_the_legacy_score_have_the_naive_gradient_too() -> None:
    clips, texts, swapped = sides(CLIP_LENGTHS, TEXT_LENGTHS, SWAPPED_LENGTHS)
    expected = gradients(naive_swapped, clips, texts, swapped, legacy_unmasked=True, pad_to=(12, 8))
    found = gradients(pairs_swapped, clips, texts, swapped, legacy_unmasked=True, pad_to=(12, 8), block_elements=300)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [0.02, 0.07])
def test_gradient_is_the_numerical_one(temperature: float) -> None:
    clips, texts = (made_up(lengths, seed, 3, torch.float64) for seed, lengths in enumerate(([3, 1, 2], [2, 3])))

    def scores(signs: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        sides = clips._replace(tokens=signs), texts._replace(tokens=words)
        return tuple(pair_scores(*sides, temperature=temperature, block_elements=20))

    assert torch.autograd.gradcheck(scores, (clips.tokens, texts.tokens))


def test_one_half_alone_is_differentiated_alone() -> None:
    clips, texts = sides(CLIP_LENGTHS, TEXT_LENGTHS)
    for half in ("by_sign", "by_word"):
        loss, naive = (getattr(score(clips, texts), half).square().sum() for score in (pair_scores, fine_grained))
        tokens = [clips.tokens, texts.tokens]
        for one, other in zip(torch.autograd.grad(loss, tokens), torch.autograd.grad(naive, tokens), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_frozen_side_gets_no_gradient_and_changes_nothing_for_the_other() -> None:
    clips, texts = sides(CLIP_LENGTHS, TEXT_LENGTHS)
    for learning, frozen in ((0, 1), (1, 0)):
        tokens = [clips.tokens.detach().clone(), texts.tokens.detach().clone()]
        tokens[learning].requires_grad_()
        pair_scores(clips._replace(tokens=tokens[0]), texts._replace(tokens=tokens[1])).mean.sum().backward()
        (expected,) = torch.autograd.grad(fine_grained(clips, texts).mean.sum(), [(clips, texts)[learning].tokens])
        torch.testing.assert_close(tokens[learning].grad, expected, atol=1e-5, rtol=0)
        assert tokens[frozen].grad is None


def test_a_process_without_texts_scores_nothing() -> None:
    clips = made_up(CLIP_LENGTHS, 0)
    none = Embedded(torch.zeros(0, 0, 7), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 7))
    assert pair_scores(clips, none).mean.shape == (5, 0)


@pytest.mark.parametrize("temperature", [0.001, 0.03])
def test_opposite_and_equal_tokens_stay_finite(temperature: float) -> None:
    one = torch.tensor([1.0, 0.0])
    clips = Embedded(torch.stack([torch.stack([one, one]), -torch.stack([one, 0 * one])]), torch.tensor([2, 1]), one)
    texts = Embedded(torch.stack([torch.stack([one, -one]), -torch.stack([one, one])]), torch.tensor([2, 2]), one)
    found = gradients(pair_scores, *(side._replace(tokens=side.tokens.requires_grad_()) for side in (clips, texts)),
                      temperature=temperature)  # fmt: skip
    assert all(bool(value.isfinite().all()) for value in found)
    torch.testing.assert_close(found[0], torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    torch.testing.assert_close(found[1], torch.tensor([[0.0, -1.0], [0.0, 1.0]]))


def test_autocast_changes_nothing_and_half_precision_tokens_get_half_precision_gradients() -> None:
    clips, texts = sides(CLIP_LENGTHS, TEXT_LENGTHS)
    expected = gradients(pair_scores, clips, texts)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(pair_scores, clips, texts)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    halves = [side._replace(tokens=side.tokens.detach().bfloat16().requires_grad_()) for side in (clips, texts)]
    rounded = gradients(pair_scores, *halves)
    assert [value.dtype for value in rounded] == [torch.float32] * 2 + [torch.bfloat16] * 2
    for one, other in zip(expected, rounded, strict=True):
        torch.testing.assert_close(other.float(), one, atol=0.1, rtol=0.1)


def test_a_compiled_function_may_call_it() -> None:
    clips, texts = sides(CLIP_LENGTHS, TEXT_LENGTHS)

    def loss(signs: Tensor) -> Tensor:
        return 2 * pair_scores(Embedded(signs * 1, clips.num_tokens, clips.pooled), texts).mean.sum()

    compiled = torch.compile(loss, backend="eager")
    (expected,) = torch.autograd.grad(loss(clips.tokens), [clips.tokens])
    (found,) = torch.autograd.grad(compiled(clips.tokens), [clips.tokens])
    torch.testing.assert_close(found, expected)


def test_a_temperature_of_zero_is_named() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        pair_scores(*sides([1], [1]), temperature=0)


def test_memory_does_not_grow_with_clips_times_texts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    from tensor_memory import TensorMemory

    def peak(score: Callable[..., Scores], num_items: int, **options: Any) -> int:
        clips, texts = sides([12] * num_items, [9] * num_items)
        with TensorMemory([*clips, *texts]) as memory:
            gradients(score, clips, texts, **options)
        return memory.peak_bytes

    few, many = (peak(pair_scores, number, block_elements=1000) for number in (20, 40))
    assert many < 2.5 * few
    assert peak(fine_grained, 40) > 8 * many


def cico(clips: Embedded, texts: Embedded, augmented: Embedded, scale: Tensor, dual_mix: float) -> Tensor:
    """The loss of the released code on tokens that fill its tensors, read off line by line."""
    losses = []
    for words in (texts, augmented):
        similarity = torch.einsum("aid,cjd->acij", clips.tokens, words.tokens)
        if words is texts:
            logits = scale * (similarity * torch.softmax(similarity / 0.07, dim=3)).sum(3).mean(2)
        else:
            logits = scale * (similarity * torch.softmax(similarity / 0.07, dim=2)).sum(2).mean(2)
        by_rows = -torch.diag(torch.log_softmax(logits, dim=1)).mean()
        by_columns = -torch.diag(torch.log_softmax(logits, dim=0)).mean()
        first, second = (by_rows, by_columns) if words is texts else (by_columns, by_rows)
        losses.append(dual_mix * first + (1 - dual_mix) * second)
    return (losses[0] + losses[1]) / 2


@pytest.mark.parametrize("dual_mix", [0.5, 0.3])
@pytest.mark.parametrize("normalisation", ["per_positive", "one_to_k", "any_positive"])
def test_one_performance_and_one_caption_is_cico_from_the_tokens_on(normalisation: Any, dual_mix: float) -> None:
    clips, texts, augmented = sides([6] * 4, [5] * 4, [5] * 4)
    scale = torch.tensor(20.0, requires_grad=True)
    scores = pair_scores(clips, texts, swapped=augmented)
    options = {"dual_mix": dual_mix, "normalisation": normalisation}
    loss = contrastive_loss(scores.by_sign * scale, scores.by_word * scale, torch.eye(4).bool(), **options)
    expected = cico(clips, texts, augmented, scale, dual_mix)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    learned = [clips.tokens, texts.tokens, augmented.tokens, scale]
    for one, other in zip(torch.autograd.grad(loss, learned), torch.autograd.grad(expected, learned), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for_and_agrees() -> None:
    embedded = sides(CLIP_LENGTHS, TEXT_LENGTHS, SWAPPED_LENGTHS)
    expected = gradients(pairs_swapped, *embedded)
    there = [Embedded(*(value.detach().cuda() for value in side)) for side in embedded]
    for side in there:
        side.tokens.requires_grad_()
    gradients(pairs_swapped, *there)  # libraries set themselves up at the first call, and wait for it
    torch.cuda.set_sync_debug_mode("error")
    try:
        scores = pairs_swapped(*there, block_elements=200)
        grads = torch.autograd.grad(scores.by_sign.sum() + scores.by_word.sum(), [side.tokens for side in there])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    here = pairs_swapped(*embedded)
    found = torch.autograd.grad(here.by_sign.sum() + here.by_word.sum(), [side.tokens for side in embedded])
    for one, other in zip([*scores, *grads], [*expected[:2], *found], strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-4, rtol=0)
