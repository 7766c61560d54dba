"""The fine-grained score: bounds, padding, and the released code's unmasked version."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from slr.models.dual_encoder import Embedded
from slr.retrieval.learning.contrastive import pair_scores
from slr.retrieval.similarity import RELEASED_LENGTHS, exact_scores, fine_grained

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=4)
TEMPERATURES = st.sampled_from([0.01, 0.03, 0.07, 0.5])


def made_up(lengths: list[int], seed: int, dim: int = 5) -> Embedded:
    draw = torch.Generator().manual_seed(seed)
    tokens = functional.normalize(torch.randn(len(lengths), max(lengths), dim, generator=draw), dim=-1)
    num_tokens = torch.tensor(lengths)
    valid = torch.arange(max(lengths)) < num_tokens[:, None]
    return Embedded(tokens * valid[..., None], num_tokens, tokens[:, 0])


def widened(side: Embedded, by: int) -> Embedded:
    return side._replace(tokens=functional.pad(side.tokens, (0, 0, 0, by)))


@settings(max_examples=40, deadline=None)
@given(LENGTHS, LENGTHS, TEMPERATURES, st.integers(0, 5), st.integers(0, 5))
def test_padding_changes_nothing(
    clip_lengths: list[int], text_lengths: list[int], temperature: float, more_signs: int, more_words: int
) -> None:
    clips, texts = made_up(clip_lengths, 0), made_up(text_lengths, 1)
    wide = widened(clips, more_signs), widened(texts, more_words)
    for score in (fine_grained, pair_scores):
        narrow_scores = score(clips, texts, temperature=temperature)
        for one, other in zip(narrow_scores, score(*wide, temperature=temperature), strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, LENGTHS, TEMPERATURES)
def test_softness_costs_at_most_temperature_times_log_of_the_choice(
    clip_lengths: list[int], text_lengths: list[int], temperature: float
) -> None:
    clips, texts = made_up(clip_lengths, 0), made_up(text_lengths, 1)
    by_sign, by_word = fine_grained(clips, texts, temperature=temperature)
    for a, num_signs in enumerate(clip_lengths):
        for c, num_words in enumerate(text_lengths):
            cosines = clips.tokens[a, :num_signs] @ texts.tokens[c, :num_words].T
            for value, dim, choice in ((by_sign[a, c], 1, num_words), (by_word[a, c], 0, num_signs)):
                hard = float(cosines.max(dim).values.mean())
                assert hard - temperature * math.log(choice) - 1e-5 <= float(value) <= hard + 1e-5


def test_limits_are_maxsim_and_the_product_of_means_for_ragged_items() -> None:
    clips, texts = made_up([3, 6, 1], 0), made_up([4, 2], 1)
    sharp, flat = (fine_grained(clips, texts, temperature=value) for value in (1e-4, 1e5))
    sharp_pairs, flat_pairs = (pair_scores(clips, texts, temperature=value) for value in (1e-4, 1e5))
    for a, num_signs in enumerate([3, 6, 1]):
        for c, num_words in enumerate([4, 2]):
            signs, words = clips.tokens[a, :num_signs], texts.tokens[c, :num_words]
            cosines, means = signs @ words.T, float(signs.mean(0) @ words.mean(0))
            for found in (sharp, sharp_pairs):
                assert float(found.by_sign[a, c]) == pytest.approx(float(cosines.max(1).values.mean()), abs=1e-5)
                assert float(found.by_word[a, c]) == pytest.approx(float(cosines.max(0).values.mean()), abs=1e-5)
            for found in (flat, flat_pairs):
                assert float(found.by_sign[a, c]) == pytest.approx(means, abs=1e-5)
                assert float(found.by_word[a, c]) == pytest.approx(means, abs=1e-5)


def released(video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The two matrices as the released code makes them: positions as the towers give them, only the means masked.

    video: (A, 65, D) with the class token first; video_mask: (A, 65), 0 there and on padding. text: (C, 32, D).
    """
    cosines = torch.einsum("aid,cjd->acij", video, text)
    by_sign = (cosines * torch.softmax(cosines / 0.07, dim=-1)).sum(-1)
    by_word = (cosines * torch.softmax(cosines / 0.07, dim=-2)).sum(-2)
    by_sign = (by_sign * video_mask[:, None]).sum(-1) / video_mask.sum(-1)[:, None]
    by_word = (by_word * text_mask[None]).sum(-1) / text_mask.sum(-1)[None]
    return by_sign, by_word


def test_legacy_is_the_released_score_given_the_released_tokens() -> None:
    draw = torch.Generator().manual_seed(0)
    video, text = (functional.normalize(torch.randn(3, size, 6, generator=draw), dim=-1) for size in RELEASED_LENGTHS)
    num_signs, num_words = torch.tensor([64, 20, 1]), torch.tensor([32, 2, 9])
    places = torch.arange(65)
    video_mask = ((places > 0) & (places <= num_signs[:, None])).float()
    expected = released(video, video_mask, text, (torch.arange(32) < num_words[:, None]).float())
    # Ours has the tokens that count first and the class token last; nothing past them is zero.
    clips, texts = Embedded(video.roll(-1, dims=1), num_signs, video[:, 0]), Embedded(text, num_words, text[:, 0])
    for scores in (
        fine_grained(clips, texts, legacy_unmasked=True, pad_to=RELEASED_LENGTHS),
        pair_scores(clips, texts, legacy_unmasked=True, pad_to=RELEASED_LENGTHS),
    ):
        torch.testing.assert_close(scores.by_sign, expected[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(scores.by_word, expected[1], atol=1e-6, rtol=0)


def test_legacy_with_fixed_lengths_does_not_depend_on_the_batch() -> None:
    clips, texts = made_up([3, 6, 1], 0), made_up([4, 2], 1)
    fixed = {"legacy_unmasked": True, "pad_to": (9, 7)}
    together = fine_grained(clips, texts, temperature=0.3, **fixed)  # type: ignore[arg-type]
    alone = fine_grained(
        Embedded(clips.tokens[2:, :1], clips.num_tokens[2:], clips.pooled[2:]),
        Embedded(texts.tokens[1:, :2], texts.num_tokens[1:], texts.pooled[1:]),
        temperature=0.3,
        **fixed,  # type: ignore[arg-type]
    )
    torch.testing.assert_close(alone.by_sign[0, 0], together.by_sign[2, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(alone.by_word[0, 0], together.by_word[2, 1], atol=1e-6, rtol=0)
    # By hand: one sign, two words and five zeros to choose from.
    first, second = (math.exp(float(clips.tokens[2, 0] @ word) / 0.3) for word in texts.tokens[1, :2])
    weighed = (first * math.log(first) + second * math.log(second)) * 0.3 / (first + second + 5)
    assert float(together.by_sign[2, 1]) == pytest.approx(weighed, abs=1e-6)
    ranked = exact_scores(texts, clips, temperature=0.3, **fixed)  # type: ignore[arg-type]
    np.testing.assert_allclose(ranked, together.mean.T.numpy(), atol=1e-6)


def test_tokens_wider_than_the_fixed_lengths_are_named() -> None:
    clips, texts = made_up([3], 0), made_up([4], 1)
    for score, legacy in ((fine_grained, "legacy_unmasked"), (pair_scores, "legacy_unmasked")):
        with pytest.raises(ValueError, match="clips of 3 tokens don't fit the 2 that the legacy score pads to"):
            score(clips, texts, pad_to=(2, 9), **{legacy: True})  # type: ignore[operator]
        with pytest.raises(ValueError, match="texts of 4 tokens don't fit the 3"):
            score(clips, texts, pad_to=(9, 3), **{legacy: True})  # type: ignore[operator]


def test_autocast_leaves_the_score_in_float32() -> None:
    clips, texts = made_up([3, 6, 1], 0), made_up([4, 2], 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = fine_grained(clips, texts)
    assert torch.equal(found.by_sign, fine_grained(clips, texts).by_sign)
