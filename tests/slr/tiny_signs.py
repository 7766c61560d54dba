"""A recogniser of frames small enough to be read: two convolutions over the mean colours of a frame's quarters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from signwave import bundle
from signwave.batch import Encoded
from signwave.media.video import write_video
from signwave.text import Vocabulary
from slr.medium import KINDS, Kind
from slr.models.masking import conv_steps, mask_time

KIND = "slr.tiny_signs"
RATE_HZ = 25.0
SIZE_PX = (16, 24)
VOCABULARY = Vocabulary(("<blank>", "A", "B", "C", "D"))
KINDS.setdefault(KIND, Kind("tiny_signs", "TinySigns", "frames"))
KINDS.setdefault("slr.tiny_both", Kind("tiny_signs", "TinyBoth", "frames+keypoints"))


class TinySigns(nn.Module):
    """Stride 4. `whole` adds the mean of the clip, so that every frame changes every step."""

    reads = "frames"
    stride = 4

    def __init__(self, *, vocab_size: int, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole
        self.receptive_radius_frames = None if whole else 6
        self.first = nn.Conv1d(12, 16, 5, stride=2, padding=2)
        self.second = nn.Conv1d(16, vocab_size, 5, stride=2, padding=2)

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        colours = functional.adaptive_avg_pool2d(inputs.flatten(0, 1).float() / 64 - 2, 2)
        hidden = mask_time(colours.reshape(*inputs.shape[:2], 12), num_frames)
        if self.whole:
            hidden = hidden + hidden.sum(1, keepdim=True) / num_frames[:, None, None]
        num_steps = conv_steps(num_frames, 2)
        hidden = mask_time(torch.tanh(self.first(hidden.transpose(1, 2))).transpose(1, 2), num_steps)
        logits = 6 * self.second(hidden.transpose(1, 2)).transpose(1, 2)
        return Encoded(functional.log_softmax(logits, -1), conv_steps(num_steps, 2))


class TinyBoth(TinySigns):
    """Frames and keypoints, or either; keypoints add the place of the right wrist to every colour."""

    reads = "frames+keypoints"

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        if points is None:
            return super().forward(inputs, num_frames)
        assert points.shape[:2] == inputs.shape[:2]
        if not inputs.numel():
            inputs = inputs.new_zeros((*inputs.shape[:3], 2, 2))
        place = (points[:, :, 21, :2].sum(-1) * 30).reshape(*points.shape[:2], 1, 1, 1)
        return super().forward((inputs.float() + place).clamp(0, 255).to(torch.uint8), num_frames)


def save_tiny(folder: Path, *, whole: bool = False, kind: str = KIND, **info: object) -> Path:
    """A run folder with an untrained model."""
    torch.manual_seed(1)
    model = (TinySigns if kind == KIND else TinyBoth)(vocab_size=VOCABULARY.size, whole=whole)
    config = {"vocab_size": VOCABULARY.size, "whole": whole}
    facts = {"name": "tiny", "rate_hz": RATE_HZ, "stride": 4, "reads": "frames", "size_px": list(SIZE_PX), **info}
    bundle.save(folder / "bundle", kind=kind, model=model, config=config, vocabulary=VOCABULARY, info=facts)
    return folder


def moving(num_frames: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """(T, 3, 32, 48) uint8, colours that change slowly."""
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 256, (num_frames // 6 + 2, 3, 2, 2)).astype(np.float64)
    at = np.arange(num_frames) / 6
    low, share = at.astype(np.int64), (at % 1)[:, None, None, None]
    frames = key[low] * (1 - share) + key[low + 1] * share
    return frames.repeat(16, axis=2).repeat(24, axis=3).astype(np.uint8)


def write_moving(path: Path, num_frames: int, *, fps: float = 25.0, seed: int = 0) -> Path:
    """A video of `moving`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, moving(num_frames, seed=seed), fps=fps, crf=10)
