"""I3D as the trunk of a recogniser of isolated signs: what CiCo (CVPR 2023, §3.2) spots signs with and fine-tunes."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from slr.models.i3d import EMBEDDING_DIM, InceptionI3d
from slr.models.interface import MAIN, Reads, StepFeatures

_STRIDE = 8


@dataclass
class I3dConfig:
    """Settings of I3dTrunk; the defaults are those of BSL-1K's and CiCo's weights."""

    middle: float = 0.5
    """Subtracted from pixels in [0, 1] …"""
    spread: float = 1.0
    """… before they are divided by this; Kinetics' weights want 0.5."""

    def build(self, *, vocab_size: int) -> "I3dTrunk":
        """The trunk; it has no classifier of its own, whatever the vocabulary."""
        return I3dTrunk(vocab_size=vocab_size, **dataclasses.asdict(self))


class I3dTrunk(nn.Module):
    """Frames in, one vector of 1,024 numbers every eight frames out, whose mean is I3D's embedding.

    A clip's features don't depend on the others of its batch: clips of each length go through the network together.
    """

    reads: Reads = "frames"
    stride = _STRIDE

    def __init__(self, *, vocab_size: int, middle: float = 0.5, spread: float = 1.0) -> None:
        super().__init__()
        del vocab_size
        self.net = InceptionI3d()
        self.middle, self.spread = middle, spread

    @property
    def feature_dims(self) -> dict[str, int]:
        """Of the last block."""
        return {MAIN: EMBEDDING_DIM}

    def step_features(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> StepFeatures:
        """Features of the last block, averaged over the picture.

        Args:
            inputs: (B, T, 3, H, W) uint8 RGB, anything past num_frames.
            num_frames: (B,) int64, at least 1.
            points: not read.
        """
        num_steps = torch.div(num_frames + _STRIDE - 1, _STRIDE, rounding_mode="floor")
        lengths = num_frames.tolist()
        parts: dict[int, Tensor] = {}
        for length in set(lengths):
            rows = [row for row, other in enumerate(lengths) if other == length]
            pixels = inputs[rows, :length].transpose(1, 2) / 255
            hidden = self.net.steps((pixels - self.middle) / self.spread).transpose(1, 2)
            parts |= dict(zip(rows, hidden, strict=True))
        return StepFeatures({MAIN: pad_sequence([parts[row] for row in sorted(parts)], batch_first=True)}, num_steps)

    def drop_heads(self) -> None:
        """There are none."""
