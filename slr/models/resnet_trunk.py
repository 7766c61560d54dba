"""ResNet-18/34 over single frames, with CorrNet's module between its stages where asked for.

Layers and their names are torchvision's, so its ImageNet weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock

from slr.models.correlation import Correlation
from slr.models.packed_frames import FramePlaces
from slr.models.recompute import recomputed
from slr.models.weights import load_exactly, read_weights

Backbone = Literal["resnet18", "resnet34"]
Recompute = Literal["none", "stem", "all"]
"""Activations that the backward pass computes again. stem: of the first convolution, a third of the trunk's memory for
two hundredths of a step's work. all: of each stage, for a third more work."""
NUM_BLOCKS: dict[Backbone, tuple[int, int, int, int]] = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
BASE_CHANNELS = 64
"""Of torchvision's; only a trunk of this width can take its weights."""


class ResnetTrunk(nn.Module):
    """Frames to one vector each.

    Args:
        backbone: how many blocks each stage has.
        base_channels: channels of the first stage; each later one has twice as many.
        correlation: put CorrNet's module after stages 2, 3 and 4.
        recompute: activations that are not kept; a trunk compiled as a whole leaves that to the compiler.
    """

    def __init__(
        self,
        backbone: Backbone = "resnet18",
        *,
        base_channels: int = BASE_CHANNELS,
        correlation: bool = False,
        recompute: Recompute = "stem",
    ) -> None:
        super().__init__()
        self.recompute: Recompute = recompute
        self.base_channels = base_channels
        self.out_dim = 8 * base_channels
        self.conv1 = nn.Conv2d(3, base_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        channels = [base_channels * 2**stage for stage in range(4)]
        for stage, num_blocks in enumerate(NUM_BLOCKS[backbone]):
            before = channels[max(0, stage - 1)]
            layer = _stage(before, channels[stage], num_blocks, stride=1 if stage == 0 else 2)
            self.add_module(f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.correlations = nn.ModuleList(Correlation(size) for size in channels[1:]) if correlation else None
        for weights in self.parameters():
            if weights.ndim == 4:  # as the frames lie, so that no convolution turns its weights round at each call
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)

    def forward(self, frames: Tensor, places: FramePlaces) -> Tensor:
        """Features of single frames.

        Args:
            frames: (M, 3, H, W) float, normalised pixels.
            places: which frames they are; correlation alone asks.

        Returns:
            (M, out_dim) float, the mean over each frame's pixels.
        """
        hidden = self._run(self._stem, self.bn1, frames, again=self.recompute != "none")
        again = self.recompute == "all"
        for stage in range(4):
            layer = self.get_submodule(f"layer{stage + 1}")
            hidden = self._run(layer, layer, hidden, again=again)
            if self.correlations is not None and stage > 0:
                correlation = self.correlations[stage - 1]
                hidden = self._run(partial(correlation, places=places), correlation, hidden, again=again)
        return hidden.mean(dim=(2, 3))

    def compile_stages(self) -> None:
        """Compile each stage by itself, so that `recompute` still decides what is kept; names of weights stay."""
        for stage in range(4):
            self.get_submodule(f"layer{stage + 1}").compile()

    def _stem(self, frames: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(frames)), inplace=True)
        return functional.max_pool2d(hidden, 3, stride=2, padding=1)

    def _run(self, part: Callable[[Tensor], Tensor], norms_of: nn.Module, hidden: Tensor, *, again: bool) -> Tensor:
        if not again or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return part(hidden)
        return recomputed(part, hidden, norms_of=norms_of)


def _stage(in_channels: int, channels: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
        )
    blocks = [BasicBlock(in_channels, channels, stride, shortcut)]
    return nn.Sequential(*blocks, *(BasicBlock(channels, channels) for _ in range(num_blocks - 1)))


def load_imagenet(trunk: ResnetTrunk, path: str | Path) -> None:
    """Fill a trunk with torchvision's weights of the same backbone; its classifier is left out.

    Args:
        trunk: 64 channels wide; correlation modules stay as they are.
        path: a local `resnet18-*.pth` or `resnet34-*.pth`, torchvision's state dictionary.

    Raises:
        ArtefactError: the file can't be read, or its names or shapes aren't the trunk's; nothing was loaded.
    """
    given = read_weights(path, advice="give torchvision's resnet18-*.pth or resnet34-*.pth")
    # The counters came with torch 0.4.1: the oldest of torchvision's files have none.
    own = {name for name in trunk.state_dict() if name.startswith("correlations.") or name.endswith("batches_tracked")}
    load_exactly(
        trunk, {name: value for name, value in given.items() if not name.startswith("fc.")}, source=str(path),
        optional=own, hint=f"give torchvision's file of the same backbone and base_channels {BASE_CHANNELS}",
    )  # fmt: skip
