"""The layers of S3D, named as torchvision names them, through which nothing comes from a clip's padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from slr.models.masking import MaskedBatchNorm, conv_steps, mask_time, valid_steps

_Triple = tuple[int, int, int]


class Stage(NamedTuple):
    """What one block gives.

    values: (B, C, T', H', W') float; anything past num_steps.
    num_steps: (B,) int64, at least 1.
    """

    values: Tensor
    num_steps: Tensor


class ConvNorm(nn.ModuleList):
    """3-D convolution (or another with the same shapes), masked norm, ReLU; its children are called 0 and 1."""

    def __init__(self, conv: nn.Conv3d | nn.ConvTranspose3d, *, momentum: float, eps: float = 1e-3) -> None:
        super().__init__([conv, MaskedBatchNorm(conv.out_channels, eps=eps, momentum=momentum)])

    def forward(self, values: Tensor, num_steps: Tensor) -> Tensor:
        """values: (B, C, T, H, W) float. num_steps: (B,) int64, of the convolution's output."""
        return functional.relu(self[1](convolve(self[0], values), num_steps), inplace=True)


def convolve(conv: nn.Module, values: Tensor) -> Tensor:
    """The convolution, (B, C, T, H, W) float; one that looks at single pixels runs as a 2-D one over time and pixels.

    Libraries have faster kernels for it: 3 to 5 times on a CPU core. With channels last both views cost nothing.
    """
    if not isinstance(conv, nn.Conv3d) or conv.kernel_size[1:] != (1, 1) or conv.stride[1:] != (1, 1):
        moved: Tensor = conv(values)
        return moved
    flat = functional.conv2d(
        values.flatten(3), conv.weight.flatten(3), None, (conv.stride[0], 1), (int(conv.padding[0]), 0)
    )
    return flat.reshape(*flat.shape[:3], *values.shape[3:])


def lay_channels_last(module: nn.Module) -> None:
    """Store 3-D convolutions as half-precision kernels of GPUs want them; inputs must lie alike."""
    for parameter in module.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)


class SeparableConv(nn.ModuleList):
    """A convolution over space and one over time, children 0 and 1."""

    def __init__(self, in_channels: int, out_channels: int, size: int, *, stride: int = 1, momentum: float) -> None:
        half = size // 2
        space = nn.Conv3d(
            in_channels, out_channels, (1, size, size), (1, stride, stride), padding=(0, half, half), bias=False
        )
        time = nn.Conv3d(out_channels, out_channels, (size, 1, 1), (stride, 1, 1), padding=(half, 0, 0), bias=False)
        super().__init__([ConvNorm(space, momentum=momentum), ConvNorm(time, momentum=momentum)])
        self.time_stride = stride

    def forward(self, values: Tensor, num_steps: Tensor) -> Tensor:
        """values: (B, C, T, H, W) float. num_steps: (B,) int64, of the input."""
        hidden = self[0](values, num_steps)
        if not self.training:  # in training the norm has left zeros there already
            hidden = mask_time(hidden, num_steps, dim=2)
        moved: Tensor = self[1](hidden, conv_steps(num_steps, self.time_stride))
        return moved


class MaxPool(nn.Module):
    """Max pool in which padding never wins: features can be negative where two streams are added."""

    def __init__(self, size: _Triple, stride: _Triple) -> None:
        super().__init__()
        self.size, self.stride, self.time_stride = size, stride, stride[0]
        self.padding = tuple(0 if length == 2 else length // 2 for length in size)

    def forward(self, values: Tensor, num_steps: Tensor) -> Tensor:
        """values: (B, C, T, H, W) float. num_steps: (B,) int64, of the input."""
        if self.size[0] == 1:
            return functional.max_pool3d(values, self.size, self.stride, self.padding)
        inside = valid_steps(num_steps, values.shape[2])[:, None, :, None, None]
        values = torch.where(inside, values, values.new_full((), -torch.inf))
        if self.size[0] == 2 and values.shape[2] % 2:
            # A last odd step is pooled alone; torchvision drops it, and with it a whole clip of one step.
            values = functional.pad(values, (0, 0, 0, 0, 0, 1), value=-torch.inf)
        pooled = functional.max_pool3d(values, self.size, self.stride, self.padding)
        # -inf in the padding would make NaN gradients of the next weights.
        return mask_time(pooled, conv_steps(num_steps, self.time_stride), dim=2)


class Inception(nn.Module):
    """Four branches side by side; widths are those of torchvision's SepInceptionBlock3D."""

    time_stride = 1

    def __init__(self, in_channels: int, widths: tuple[int, ...], *, momentum: float) -> None:
        super().__init__()

        def pointwise(out_channels: int) -> ConvNorm:
            return ConvNorm(nn.Conv3d(in_channels, out_channels, 1, bias=False), momentum=momentum)

        first, middle1, out1, middle2, out2, out3 = widths
        self.out_channels = first + out1 + out2 + out3
        self.branch0 = pointwise(first)
        self.branch1 = nn.ModuleList([pointwise(middle1), SeparableConv(middle1, out1, 3, momentum=momentum)])
        self.branch2 = nn.ModuleList([pointwise(middle2), SeparableConv(middle2, out2, 3, momentum=momentum)])
        self.branch3 = nn.ModuleList([MaxPool((3, 3, 3), (1, 1, 1)), pointwise(out3)])

    def forward(self, values: Tensor, num_steps: Tensor) -> Tensor:
        """values: (B, C, T, H, W) float. num_steps: (B,) int64."""
        parts = [self.branch0(values, num_steps)]
        for branch in (self.branch1, self.branch2, self.branch3):
            hidden = values
            for layer in branch:
                hidden = layer(hidden, num_steps)
            parts.append(hidden)
        return torch.cat(parts, dim=1)
