"""Masks, the masked norm against torch's, and frames by number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from signwave.layers import take_frames
from slr.models.masking import MaskedBatchNorm, conv_steps, mask_time, valid_steps


def test_masks() -> None:
    assert valid_steps(torch.tensor([2, 0, 3]), 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]
    values = torch.full((2, 4, 3), float("nan"))
    values[0, :, :2] = 1.0
    values[1, :, :1] = 2.0
    masked = mask_time(values, torch.tensor([2, 1]), dim=2)
    assert masked.isfinite().all()
    assert masked.sum().item() == 4 * 2 * 1.0 + 4 * 1 * 2.0
    assert conv_steps(torch.tensor([1, 2, 3, 4, 5]), 2).tolist() == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("shape", [(3, 4, 7), (3, 4, 7, 2, 3)])
def test_the_masked_norm_is_torchs_on_the_valid_part(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = 3 * torch.randn(shape) + 100  # a mean far from 0 costs digits where the variance is taken carelessly
    num_steps = torch.tensor([7, 3, 5])
    norm, twin = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    rows = [item[:, :size].transpose(0, 1).reshape(size, 4, -1) for item, size in zip(values, num_steps.tolist())]
    flat = torch.cat([row.transpose(1, 2).reshape(-1, 4) for row in rows])
    expected = twin(flat)
    found = norm(values, num_steps)
    kept = torch.cat(
        [item[:, :size].transpose(0, 1).reshape(size, 4, -1).transpose(1, 2).reshape(-1, 4)
         for item, size in zip(found, num_steps.tolist())]
    )  # fmt: skip
    torch.testing.assert_close(kept, expected, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(norm.running_mean, twin.running_mean)
    torch.testing.assert_close(norm.running_var, twin.running_var, atol=2e-3, rtol=2e-3)
    assert not found[1, :, 3:].any()


def test_padding_changes_nothing_and_states_are_shared() -> None:
    torch.manual_seed(1)
    values, num_steps = torch.randn(2, 4, 6), torch.tensor([6, 2])
    other = values.clone()
    other[1, :, 2:] = float("inf")
    first, second = MaskedBatchNorm(4), MaskedBatchNorm(4)
    torch.testing.assert_close(first(values, num_steps), second(other, num_steps))
    plain = nn.BatchNorm1d(4)
    plain.load_state_dict(first.state_dict())
    torch.testing.assert_close(plain.eval()(values), first.eval()(values, num_steps))
    torch.testing.assert_close(MaskedBatchNorm(4)(values), nn.BatchNorm1d(4)(values))


def test_the_norm_learns() -> None:
    norm = MaskedBatchNorm(2)
    values = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    norm = norm.double()
    (norm(values, torch.tensor([5, 3])) * torch.randn(2, 2, 5).double()).sum().backward()
    assert values.grad is not None
    assert float(values.grad[1, :, 3:].abs().sum()) == 0
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in norm.parameters())


def test_take_frames_is_a_loop() -> None:
    values = torch.arange(2 * 4 * 3).reshape(2, 4, 3).to(torch.uint8)
    take = torch.tensor([[0, 0, 2, 3, 3], [1, 2, 0, 0, 0]])
    found = take_frames(values, take, torch.tensor([5, 2]))
    expected = torch.zeros(2, 5, 3, dtype=torch.uint8)
    for item, size in ((0, 5), (1, 2)):
        for place in range(size):
            expected[item, place] = values[item, take[item, place]]
    assert torch.equal(found, expected)
    assert take_frames(take, take, torch.tensor([5, 2]), fill=-1)[1, 2:].tolist() == [-1, -1, -1]
