"""Masks on the device against a plain twin of fairseq's rule: same distribution, and the same draw from a generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr.pretraining.masking import SpanSettings, masked_positions, sample_negatives, sample_spans
from signwave.errors import ConfigError

NUM_DRAWS = 4000


def fairseq_mask(lengths, size, settings, rng):
    """fairseq's compute_mask_indices with a padding mask and static lengths."""
    chosen = []
    for length in lengths:
        num = max(int(settings.probability * length / settings.length + rng.random()), settings.min_spans)
        least = settings.length if length - settings.length > num else length - num - 1
        starts = rng.choice(length - least, num, replace=False)
        frames = (starts[:, None] + np.arange(settings.length)).ravel()
        chosen.append(np.unique(frames[frames < length]))
    fewest = min(map(len, chosen))
    mask = np.zeros((len(lengths), size), dtype=bool)
    for row, frames in enumerate(chosen):
        mask[row, frames if len(frames) == fewest else rng.choice(frames, fewest, replace=False)] = True
    return mask


@pytest.mark.parametrize(
    ("lengths", "settings"),
    [
        pytest.param([60, 60, 60], SpanSettings(), id="equal lengths"),
        pytest.param([80, 45, 31], SpanSettings(), id="padding"),
        pytest.param([40, 17], SpanSettings(0.3, 4, 0), id="short spans, none at least"),
        pytest.param([13, 11, 12], SpanSettings(), id="clips hardly longer than a span"),
        pytest.param([9, 5, 4], SpanSettings(), id="clips shorter than a span"),
    ],
)
def test_masks_are_distributed_as_fairseqs(lengths, settings):
    size, rng, generator = max(lengths), np.random.default_rng(0), torch.Generator().manual_seed(0)
    theirs = np.stack([fairseq_mask(lengths, size, settings, rng) for _ in range(NUM_DRAWS)])
    steps = torch.tensor(lengths)
    ours = torch.stack([sample_spans(steps, size, settings, generator=generator) for _ in range(NUM_DRAWS)]).numpy()
    # The share of draws in which a frame, or two neighbours, are masked; four standard errors of a difference of shares
    # are 4 * sqrt(2 * .25 / 4000) = 0.045, which also covers the many frames looked at.
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.045
    pairs = [(mask[:, :, 1:] & mask[:, :, :-1]).mean(0) for mask in (ours, theirs)]
    assert np.abs(pairs[0] - pairs[1]).max() < 0.045
    counts = [np.bincount(mask.sum(2)[:, 0], minlength=size + 1) / NUM_DRAWS for mask in (ours, theirs)]
    assert np.abs(counts[0] - counts[1]).max() < 0.045
    starts = [(mask[:, :, 1:] & ~mask[:, :, :-1]).sum(2).mean(0) for mask in (ours, theirs)]
    assert np.abs(starts[0] - starts[1]).max() < 0.15


def test_rows_have_equally_many_frames_and_none_in_the_padding():
    generator = torch.Generator().manual_seed(1)
    steps = torch.tensor([200, 150, 30, 2, 1])
    for _ in range(50):
        mask = sample_spans(steps[:3], 200, SpanSettings(), generator=generator)
        assert len(set(mask.sum(1).tolist())) == 1
        assert not bool((mask & (torch.arange(200) >= steps[:3, None])).any())
        tiny = sample_spans(steps[3:], 2, SpanSettings(), generator=generator)
        assert tiny.shape == (2, 2)
        assert not bool(tiny[1, 1])


def test_about_half_of_a_long_clip_is_masked():
    mask = sample_spans(torch.full((20,), 1500), 1500, SpanSettings(), generator=torch.Generator().manual_seed(2))
    assert 0.44 < float(mask.float().mean()) < 0.52


def test_a_generator_decides_everything():
    steps = torch.tensor([300, 200])
    draws = []
    for seed in (3, 3, 4):
        generator = torch.Generator().manual_seed(seed)
        mask = sample_spans(steps, 300, SpanSettings(), generator=generator)
        torch.rand(1)  # the global generator has no say
        draws.append((mask, sample_negatives(mask.sum(1), 10, generator=generator)))
    assert all(torch.equal(one, other) for one, other in zip(draws[0], draws[1], strict=True))
    assert not torch.equal(draws[0][0], draws[2][0])


def test_positions_are_the_masked_frames_in_order():
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    found = masked_positions(mask)
    assert found.positions.tolist() == [[1, 2, 4], [0, 0, 0], [0, 0, 0]]
    assert found.valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert found.counts.tolist() == [3, 1, 0]
    frames = torch.arange(15.0).view(3, 5, 1)
    assert found.take(frames)[0, :, 0].tolist() == [1, 2, 4]


def test_negatives_are_uniform_over_the_others():
    counts = torch.tensor([7, 4])
    drawn = sample_negatives(counts, 20000, generator=torch.Generator().manual_seed(6))
    assert drawn.shape == (2, 7, 20000)
    for row, count in enumerate(counts.tolist()):
        for own in range(count):
            shares = torch.bincount(drawn[row, own], minlength=count) / 20000
            assert float(shares[own]) == 0.0
            assert len(shares) == count
            others = torch.cat([shares[:own], shares[own + 1 :]])
            assert float((others - 1 / (count - 1)).abs().max()) < 0.015


@pytest.mark.parametrize("values", [(0.0, 10, 2), (1.5, 10, 2), (0.5, 0, 2), (0.5, 10, -1)])
def test_impossible_settings_are_refused(values):
    with pytest.raises(ConfigError, match=r"probability must lie in \(0, 1\], length be at least 1"):
        SpanSettings(*values)
