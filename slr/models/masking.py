"""Layers that keep padding out of a clip: what stands past its end changes neither its output nor a norm's sums."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.layers import BiLstm

__all__ = ["BiLstm", "MaskedBatchNorm", "conv_steps", "mask_time", "valid_steps"]


def valid_steps(num_steps: Tensor, size: int) -> Tensor:
    """(B, size) bool, true on the first `num_steps` steps of each item. num_steps: (B,) int64."""
    return torch.arange(size, device=num_steps.device)[None, :] < num_steps[:, None]


def mask_time(values: Tensor, num_steps: Tensor, *, dim: int = 1) -> Tensor:
    """The same values with zeros past each item's steps.

    Args:
        values: (B, …, T, …), the batch first.
        num_steps: (B,) int64.
        dim: where T is.
    """
    size = values.shape[dim]
    shape = [1] * values.ndim
    shape[0], shape[dim] = values.shape[0], size
    # where, not a product: a NaN or inf in the padding must not survive.
    return torch.where(valid_steps(num_steps, size).reshape(shape), values, values.new_zeros(()))


def conv_steps(num_steps: Tensor, stride: int) -> Tensor:
    """(B,) int64, steps after a "same" convolution or pool of this stride: ceil(num_steps / stride)."""
    return (num_steps + stride - 1) // stride


class MaskedBatchNorm(nn.Module):
    """Batch norm over channels whose statistics leave padding out; the state of nn.BatchNorm1d/2d/3d loads into it.

    In evaluation it is torch's own, on the running statistics.

    Args:
        num_channels: C.
        eps: added to the variance.
        momentum: share of the new statistics in the running ones.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor, num_steps: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            values: (B, C, T) or (B, C, T, H, W) float; anything past num_steps.
            num_steps: (B,) int64; None where there is no padding.

        Returns:
            The same shape; zero past num_steps in training, anything there in evaluation.
        """
        if not self.training or num_steps is None:
            return functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum,
                self.eps,
            )  # fmt: skip
        kept = mask_time(values, num_steps, dim=2)
        dims = [0, *range(2, values.ndim)]
        count = num_steps.sum().float() * values[0, 0, 0].numel()
        wide = torch.promote_types(values.dtype, torch.float32)
        mean = kept.sum(dims, dtype=wide) / count
        # The norm sums in float32 without a float32 copy of what may be half precision.
        squares = torch.linalg.vector_norm(kept, 2, dims, dtype=wide).square() / count
        variance = (squares - mean.square()).clamp(min=0)
        self._track(mean.detach(), variance.detach(), count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        shape = [1, -1] + [1] * (values.ndim - 2)
        normed = kept * scale.reshape(shape).to(kept.dtype) + shift.reshape(shape).to(kept.dtype)
        return mask_time(normed, num_steps, dim=2)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
        self.num_batches_tracked += 1
