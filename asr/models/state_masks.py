"""Masks over the states between an encoder's convolutions and its layers, as wav2vec 2.0 fine-tunes with.

Spans of steps take the donor's mask vector, bands of channels become zero. The masks are drawn per clip from the seed
of its draw, so a resumed run sees the same ones.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.errors import ConfigError


@dataclass
class StateMaskConfig:
    """How much is masked in training. The values published for XLS-R are 0.3 to 0.75 over time and 0.25 of channels."""

    time_probability: float = 0.0
    """Spans times their length over the clip's steps, before overlaps; 0 masks no steps."""
    time_steps: int = 10
    """Length of a span."""
    channel_probability: float = 0.0
    """The same for bands of channels."""
    channel_width: int = 64

    def __post_init__(self) -> None:
        for name in ("time_probability", "channel_probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"model.masks.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.time_steps < 1 or self.channel_width < 1:
            raise ConfigError("model.masks.time_steps and model.masks.channel_width must be at least 1")

    @property
    def is_on(self) -> bool:
        """Whether anything is masked."""
        return self.time_probability > 0 or self.channel_probability > 0


class StateMasks(NamedTuple):
    """What is masked in a batch.

    steps: (B, T) bool; False past a clip's steps.
    channels: (B, D) bool.
    """

    steps: Tensor
    channels: Tensor

    def apply(self, hidden: Tensor, vector: Tensor) -> Tensor:
        """Mask states.

        Args:
            hidden: (B, T, D) float; unchanged.
            vector: (D,) float, what a masked step becomes.
        """
        hidden = torch.where(self.steps[..., None], vector.to(hidden.dtype), hidden)
        return hidden.masked_fill(self.channels[:, None, :], 0.0)


def draw_masks(seeds: Sequence[int], num_steps: Sequence[int], *, width: int, config: StateMaskConfig) -> StateMasks:
    """Draw the masks of a batch.

    Args:
        seeds: of each clip's draw.
        num_steps: of each clip, before any up-sampling.
        width: D, channels of a state.
        config: how much.
    """
    steps = torch.zeros((len(seeds), max(num_steps)), dtype=torch.bool)
    channels = torch.zeros((len(seeds), width), dtype=torch.bool)
    for row, (seed, size) in enumerate(zip(seeds, num_steps, strict=True)):
        rng = np.random.default_rng((seed, _STREAM))
        steps[row, :size] = torch.from_numpy(_spans(size, config.time_probability, config.time_steps, rng))
        channels[row] = torch.from_numpy(_spans(width, config.channel_probability, config.channel_width, rng))
    return StateMasks(steps, channels)


_STREAM = 1
"""Beside the seed of the draw, which the audio's augmentation uses alone."""


def _spans(size: int, probability: float, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(size,) bool: floor(probability * size / length + u) spans at distinct starts, which may overlap.

    Unlike in pretraining none is forced on a clip that is too short for one: of a single word nothing would be left.
    """
    masked = np.zeros(size, dtype=np.bool_)
    length = min(length, max(1, size // 2))
    num_starts = size - length + 1
    num_spans = min(int(probability * size / length + rng.random()), num_starts)
    for start in rng.choice(num_starts, size=num_spans, replace=False) if probability and size > 1 else ():
        masked[start : start + length] = True
    return masked
