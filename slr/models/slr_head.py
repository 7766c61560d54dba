"""The CTC head of TwoStream-SLR (Chen et al., NeurIPS 2022): pooled features of each step to gloss probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.batch import Encoded
from slr.models.masking import MaskedBatchNorm, mask_time
from slr.models.s3d_layers import Stage

HEAD_RADIUS_STEPS = 2
"""Steps to either side that a head sees: two convolutions of three."""


class SlrHead(nn.Module):
    """Linear, masked norm, ReLU, positions, dropout, convolutions with a skip, layer norm, linear.

    Args:
        in_dim: channels of the features.
        vocab_size: tokens, the blank (0) included.
        dim: width.
        feedforward_dim: width between the two convolutions.
        dropout: share of activations dropped in training.
        with_positions: add sinusoids of the step's number, as the paper does; without them a step depends only on the
            frames around it, wherever the clip begins.
    """

    def __init__(
        self,
        in_dim: int,
        vocab_size: int,
        *,
        dim: int = 512,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        with_positions: bool = True,
    ) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ValueError(f"the width of a head must be even, got {dim}")
        self.with_positions = with_positions
        self.dropout = dropout
        self.project = nn.Linear(in_dim, dim, bias=False)  # the norm has one
        self.norm = MaskedBatchNorm(dim)
        self.before = nn.LayerNorm(dim, eps=1e-6)
        self.widen = nn.Conv1d(dim, feedforward_dim, 3, padding=1)
        self.narrow = nn.Conv1d(feedforward_dim, dim, 3, padding=1)
        self.after = nn.LayerNorm(dim, eps=1e-6)
        self.output = nn.Linear(dim, vocab_size)

    def forward(self, features: Tensor, num_steps: Tensor) -> Encoded:
        """Log-probabilities.

        Args:
            features: (B, T, D) float, anything past num_steps.
            num_steps: (B,) int64, at least 1.
        """
        hidden = self.project(mask_time(features, num_steps))
        hidden = functional.relu(self.norm(hidden.transpose(1, 2), num_steps).transpose(1, 2))
        if self.with_positions:
            hidden = hidden + positions(hidden.shape[1], hidden.shape[2], hidden.device).to(hidden.dtype)
        hidden = self._drop(hidden)
        hidden = self.after(hidden + self._convolve(hidden, num_steps))
        # float32 here even under bf16: CTC sums hundreds of probabilities.
        return Encoded(functional.log_softmax(self.output(hidden).float(), dim=-1), num_steps)

    def _convolve(self, hidden: Tensor, num_steps: Tensor) -> Tensor:
        inner = mask_time(self.before(hidden), num_steps).transpose(1, 2)
        inner = self._drop(functional.relu(self.widen(inner)))
        return self._drop(self.narrow(mask_time(inner, num_steps, dim=2))).transpose(1, 2)

    def _drop(self, hidden: Tensor) -> Tensor:
        return functional.dropout(hidden, self.dropout, self.training)


def positions(size: int, dim: int, device: torch.device) -> Tensor:
    """(size, dim) float32, sine and cosine of the step's number at falling rates, one after the other."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000.0) / dim))
    angles = torch.arange(size, device=device)[:, None] * rates[None, :]
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def pool_space(stage: Stage) -> Tensor:
    """(B, T', C) float, the mean over each step's pixels. stage.values: (B, C, T', H', W')."""
    return stage.values.mean(dim=(3, 4)).transpose(1, 2)
