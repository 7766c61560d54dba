"""The pose model: shapes, padding, gradients, bf16, what a bundle needs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slr.models.pose_conv import PoseConv, PoseConvConfig


def batch(lengths: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(len(lengths), max(lengths), 126, generator=torch.Generator().manual_seed(seed))
    for row, length in enumerate(lengths):
        inputs[row, length:] = 0
    return inputs, torch.tensor(lengths)


@pytest.mark.parametrize("num_halvings", [0, 1, 2])
def test_a_clip_alone_is_the_clip_in_a_padded_batch(num_halvings: int) -> None:
    model = PoseConvConfig(dim=16, num_halvings=num_halvings).build(vocab_size=7).eval()
    lengths = [1, 5, 18, 31]
    inputs, num_frames = batch(lengths)
    inputs[0, 1:] = 3.0  # padding may hold anything
    together = model(inputs, num_frames)
    assert model.stride == 2**num_halvings
    assert together.num_steps.tolist() == [-(-length // model.stride) for length in lengths]
    torch.testing.assert_close(together.log_probs.exp().sum(-1), torch.ones(together.log_probs.shape[:2]))
    for row, length in enumerate(lengths):
        alone = model(inputs[row : row + 1, :length], num_frames[row : row + 1])
        steps = int(alone.num_steps[0])
        torch.testing.assert_close(together.log_probs[row, :steps], alone.log_probs[0], atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    model = PoseConvConfig(dim=16).build(vocab_size=7)
    model(*batch([20, 33])).log_probs[..., 1].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_bf16_gives_finite_float32() -> None:
    model = PoseConvConfig(dim=16).build(vocab_size=7).eval()
    inputs, num_frames = batch([20, 33])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = model(inputs, num_frames)
    assert encoded.log_probs.dtype == torch.float32
    assert torch.isfinite(encoded.log_probs).all()
    torch.testing.assert_close(encoded.log_probs.exp(), model(inputs, num_frames).log_probs.exp(), atol=0.05, rtol=0.1)


def test_state_dict_round_trip() -> None:
    first, second = PoseConv(vocab_size=5, dim=8).eval(), PoseConv(vocab_size=5, dim=8).eval()
    second.load_state_dict(first.state_dict())
    inputs, num_frames = batch([11])
    torch.testing.assert_close(first(inputs, num_frames).log_probs, second(inputs, num_frames).log_probs)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"kernel_size odd .* got 2, 4 and 128"):
        PoseConvConfig(kernel_size=4)
