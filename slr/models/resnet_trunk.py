"""ResNet-18/34 over single frames, with CorrNet's module between its stages where asked for.

Layers and their names are torchvision's, so its ImageNet weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock

from signwave.errors import ArtefactError
from slr.models.correlation import Correlation
from slr.models.packed_frames import FramePlaces

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
        found: Tensor = checkpoint(part, hidden, use_reentrant=False, context_fn=_contexts(norms_of))
        return found


def _stage(in_channels: int, channels: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
        )
    blocks = [BasicBlock(in_channels, channels, stride, shortcut)]
    return nn.Sequential(*blocks, *(BasicBlock(channels, channels) for _ in range(num_blocks - 1)))


def _contexts(module: nn.Module) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    return lambda: (nullcontext(), _without_tracking(module))


@contextmanager
def _without_tracking(module: nn.Module) -> Iterator[None]:
    """A layer that runs a second time for its gradient must not count its batch twice."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def load_imagenet(trunk: ResnetTrunk, path: str | Path) -> None:
    """Fill a trunk with torchvision's weights of the same backbone; its classifier is left out.

    Args:
        trunk: 64 channels wide; correlation modules stay as they are.
        path: a local `resnet18-*.pth` or `resnet34-*.pth`, torchvision's state dictionary.

    Raises:
        ArtefactError: the file can't be read, or its names or shapes aren't the trunk's; nothing was loaded.
    """
    given = {name: value for name, value in _read(path).items() if not name.startswith("fc.")}
    wanted = {name: value for name, value in trunk.state_dict().items() if not name.startswith("correlations.")}
    # The counters came with torch 0.4.1: the oldest of torchvision's files have none.
    missing = {name for name in wanted.keys() - given.keys() if not name.endswith("num_batches_tracked")}
    wrong = {
        "missing": sorted(missing),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape),
    }
    if any(wrong.values()):
        parts = [f"{what}: {_shortened(names)}" for what, names in wrong.items() if names]
        raise ArtefactError(
            f"{path}: not the weights of this trunk ({'; '.join(parts)}); give torchvision's file of the same "
            f"backbone and base_channels {BASE_CHANNELS}"
        )
    trunk.load_state_dict(given, strict=False)


def _shortened(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file; give torchvision's resnet18-*.pth or resnet34-*.pth") from error
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ArtefactError(f"{path}: can't be read as weights ({reason}); download it again") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ArtefactError(f"{path}: holds no plain state dictionary; save the model's state_dict() alone")
    return content
