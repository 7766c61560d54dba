"""The S3D video trunk (Xie et al., ECCV 2018, arXiv 1712.04851), made blind to a clip's padding.

Layers and their names are those of torchvision.models.video.S3D, so its Kinetics weights load as they are.
What differs: padding never enters a convolution or a pool over time, nor a norm's statistics.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from slr.models.masking import conv_steps
from slr.models.recompute import recomputed
from slr.models.s3d_layers import ConvNorm, Inception, MaxPool, SeparableConv, Stage, lay_channels_last
from slr.models.weights import load_exactly, read_weights

FIRST_CONV = "features.0.0.0.weight"
"""The one weight that depends on what the trunk looks at."""

# Where each block of layers ends, as SLRT cuts them.
_BLOCK_ENDS = (1, 4, 7, 13, 16)
_INCEPTIONS = {
    5: (64, 96, 128, 16, 32, 32),
    6: (128, 128, 192, 32, 96, 64),
    8: (192, 96, 208, 16, 48, 64),
    9: (160, 112, 224, 24, 64, 64),
    10: (128, 128, 256, 24, 64, 64),
    11: (112, 144, 288, 32, 64, 64),
    12: (256, 160, 320, 32, 128, 128),
    14: (256, 160, 320, 32, 128, 128),
    15: (384, 192, 384, 48, 128, 128),
}


class S3dTrunk(nn.Module):
    """Blocks 1 to `num_blocks` of S3D; TwoStream-SLR takes four: 832 channels, one step every 4 frames.

    Weights lie in memory with the channels last, which half-precision kernels of GPUs want; give inputs alike.

    Args:
        in_channels: 3 for RGB, J for heat maps.
        num_blocks: 1 to 5; a step stands for 2, 2, 2, 4, 8 frames and 2, 4, 8, 16, 32 pixels.
        width: factor of every number of channels; 1 is S3D's own.
        freeze_blocks: the first so many blocks keep their weights and statistics.
        norm_momentum: share of a batch in the norms' running statistics.
        checkpoint_layers: keep only each layer's input for the backward pass and compute the rest again.

    Attributes:
        block_channels: channels of each block's output.
        block_strides: frames per step of each block's output.
        radius_frames: frames to either side that can change a step of the last block.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_blocks: int = 4,
        width: float = 1.0,
        freeze_blocks: int = 0,
        norm_momentum: float = 0.01,
        checkpoint_layers: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= num_blocks <= len(_BLOCK_ENDS) or not 0 <= freeze_blocks <= num_blocks:
            raise ValueError(
                f"num_blocks must be 1 to 5 and freeze_blocks 0 to num_blocks, got {num_blocks} and {freeze_blocks}"
            )
        self.num_blocks, self.freeze_blocks, self.checkpoint_layers = num_blocks, freeze_blocks, checkpoint_layers
        layers, channels = _layers(in_channels, width, norm_momentum)
        self.features = nn.ModuleList(layers[: _BLOCK_ENDS[num_blocks - 1]])
        self.block_channels = tuple(channels[end - 1] for end in _BLOCK_ENDS[:num_blocks])
        self.block_strides = (2, 2, 2, 4, 8)[:num_blocks]
        self.radius_frames = (3, 5, 9, 31, 51)[num_blocks - 1]
        for layer in self.features[: self._end(freeze_blocks)]:
            layer.requires_grad_(False)
        lay_channels_last(self)

    @staticmethod
    def _end(num_blocks: int) -> int:
        return _BLOCK_ENDS[num_blocks - 1] if num_blocks else 0

    def train(self, mode: bool = True) -> S3dTrunk:
        """Training mode for all but the frozen blocks, whose norms keep their statistics."""
        super().train(mode)
        for layer in self.features[: self._end(self.freeze_blocks)]:
            layer.eval()
        return self

    def block(self, number: int, stage: Stage) -> Stage:
        """Run one block, numbered from 0."""
        values, num_steps = stage
        for layer in self.features[self._end(number) : self._end(number + 1)]:
            if self.checkpoint_layers and self.training and torch.is_grad_enabled():
                values = recomputed(layer, values, num_steps, norms_of=layer)
            else:
                values = layer(values, num_steps)
            num_steps = conv_steps(num_steps, _time_stride(layer))
        return Stage(values, num_steps)

    def forward(self, values: Tensor, num_frames: Tensor) -> list[Stage]:
        """Outputs of all blocks.

        Args:
            values: (B, C, T, H, W) float, finite; anything past num_frames.
            num_frames: (B,) int64, at least 1.
        """
        stages = [Stage(values, num_frames)]
        for number in range(self.num_blocks):
            stages.append(self.block(number, stages[-1]))
        return stages[1:]


def _time_stride(layer: nn.Module) -> int:
    return int(getattr(layer, "time_stride", 1))


def _layers(in_channels: int, width: float, momentum: float) -> tuple[list[nn.Module], list[int]]:
    """The sixteen layers of S3D and the channels after each."""

    def scaled(count: int) -> int:
        return count if width == 1 else max(4, round(count * width))

    first, second = scaled(64), scaled(192)
    plain: dict[int, tuple[nn.Module, int]] = {
        0: (SeparableConv(in_channels, first, 7, stride=2, momentum=momentum), first),
        1: (MaxPool((1, 3, 3), (1, 2, 2)), first),
        2: (ConvNorm(nn.Conv3d(first, first, 1, bias=False), momentum=momentum), first),
        3: (SeparableConv(first, second, 3, momentum=momentum), second),
        4: (MaxPool((1, 3, 3), (1, 2, 2)), second),
    }
    layers, channels = [layer for layer, _ in plain.values()], [count for _, count in plain.values()]
    for index in range(5, _BLOCK_ENDS[-1]):
        if index in _INCEPTIONS:
            block = Inception(channels[-1], tuple(scaled(count) for count in _INCEPTIONS[index]), momentum=momentum)
            layers.append(block)
            channels.append(block.out_channels)
        else:
            layers.append(MaxPool((3, 3, 3), (2, 2, 2)) if index == 7 else MaxPool((2, 2, 2), (2, 2, 2)))
            channels.append(channels[-1])
    return layers, channels


def load_kinetics(trunk: S3dTrunk, path: str | Path) -> None:
    """Fill a trunk of width 1 with the weights of torchvision's S3D (a local `s3d-*.pth`).

    Blocks the trunk lacks and the classifier are left out, and so is the first convolution of a trunk that doesn't
    look at RGB.

    Raises:
        ArtefactError: the file can't be read, or its names or shapes aren't those of S3D; the message lists them.
    """
    given, skip = read_weights(path, advice="give the weights of torchvision's S3D (s3d-*.pth)"), set()
    if trunk.state_dict()[FIRST_CONV].shape[1] != 3:
        skip.add(FIRST_CONV)
    given = {name: value for name, value in given.items() if name not in skip and not _is_further(name, trunk)}
    load_exactly(
        trunk, given, source=str(path), optional=skip,
        hint="give torchvision's s3d-*.pth and width 1, and convert SLRT's with tools/convert_s3d_kinetics.py",
    )  # fmt: skip


def _is_further(name: str, trunk: S3dTrunk) -> bool:
    """Whether a name of the file belongs to what comes after the trunk."""
    if name.startswith("classifier."):
        return True
    parts = name.split(".")
    return parts[0] == "features" and len(parts) > 2 and parts[1].isdigit() and int(parts[1]) >= len(trunk.features)
