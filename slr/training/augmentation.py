"""Augmentation of frames on the device: crop and colour, the same for all frames of a clip.

The chances of a batch are drawn by the loader from each item's seed, so a run is repeated exactly whatever the device
and the number of workers, and the step asks neither the host nor a generator for anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NUM_CHANCES = 64
"""Chances an item brings, for whatever augments it."""
_CROP, _FLIP, _COLOUR = slice(0, 4), 4, slice(5, 10)
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class FrameAugmentation:
    """How far training pictures may move from the recorded ones.

    Defaults are those of TwoStream-SLR (slr reference: crop of at least 0.7 of the area, aspect 0.75 to 1.33, colour
    jitter of 0.4, 0.4, 0.4, 0.1 for three clips in ten).

    Attributes:
        min_area: share of the picture that is kept at least; 1 keeps it all.
        aspect: largest change of the ratio of the sides.
        flip: share of clips that are mirrored. Many signs say something else with the other hand.
        colour: share of clips whose colours change.
        brightness: largest relative change.
        contrast: likewise.
        saturation: likewise.
        hue: largest turn, in full turns.
    """

    min_area: float = 0.7
    aspect: float = 1.33
    flip: float = 0.0
    colour: float = 0.3
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1 or self.aspect < 1:
            raise ValueError(
                f"min_area must lie in (0, 1] and aspect be at least 1, got {self.min_area}, {self.aspect}"
            )

    def __call__(self, frames: Tensor, chances: Tensor) -> Tensor:
        """Augment a batch.

        Args:
            frames: (B, T, 3, H, W) uint8; the first frame is never padding, anything may stand past a clip's end.
            chances: (B, R) float32 in [0, 1).

        Returns:
            (B, T, 3, H, W) uint8.
        """
        size = frames.shape
        # One grid serves all frames of a clip: time lies in the channels.
        grid = functional.affine_grid(self._placement(chances), [size[0], 1, *size[3:]], align_corners=False)
        moved = functional.grid_sample(
            frames.flatten(1, 2).float(), grid, padding_mode="border", align_corners=False
        ).reshape(size)
        matrix, offset = self._colours(chances, moved)
        # Per channel, so that no copy with the colours last is made.
        coloured = (
            torch.stack([(moved * matrix[:, None, row, :, None, None]).sum(2) for row in range(3)], dim=2)
            + offset[:, None, :, None, None]
        )
        return coloured.round_().clamp_(0, 255).to(torch.uint8)

    def _placement(self, chances: Tensor) -> Tensor:
        """(B, 2, 3) float32, where the crop lies, in affine_grid's units."""
        area, aspect, across, down = chances[:, _CROP].unbind(1)
        side = (self.min_area + (1 - self.min_area) * area).sqrt()
        ratio = torch.exp((2 * aspect - 1) * (math.log(self.aspect) / 2))
        width, height = (side * ratio).clamp(max=1), (side / ratio).clamp(max=1)
        mirror = torch.where(chances[:, _FLIP] < self.flip, -1.0, 1.0)
        zero = torch.zeros_like(side)
        rows = [width * mirror, zero, (2 * across - 1) * (1 - width), zero, height, (2 * down - 1) * (1 - height)]
        return torch.stack(rows, dim=1).reshape(-1, 2, 3)

    def _colours(self, chances: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 3) and (B, 3) float32: brightness, contrast, saturation and hue as one affine map of RGB."""
        chosen = (chances[:, _COLOUR][:, :1] < self.colour).float()
        swing = (2 * chances[:, _COLOUR][:, 1:] - 1) * chosen
        bright, contrast, saturation = (
            1 + swing[:, place] * strength
            for place, strength in enumerate((self.brightness, self.contrast, self.saturation))
        )
        # Filled on the device: a tensor copied there would make the host wait.
        grey = torch.stack([torch.full((), share, device=frames.device) for share in _GREY])
        # Contrast is about the first frame's grey: a mean over time would count the padding of other clips' lengths.
        mean = (frames[:, 0].mean((2, 3)) * grey).sum(1)
        eye, to_grey = torch.eye(3, device=frames.device), grey.repeat(3, 1)
        saturate = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * to_grey
        matrix = _hue_matrix(swing[:, 3] * self.hue) @ saturate * (bright * contrast)[:, None, None]
        # What contrast adds is a grey, which saturation and hue leave alone.
        return matrix, ((1 - contrast) * bright * mean)[:, None].expand(-1, 3)


def _hue_matrix(turns: Tensor) -> Tensor:
    """(B, 3, 3) float32, turn of the colours about the axis of greys by `turns`, (B,) float32 in full turns."""
    cos, sin = torch.cos(2 * torch.pi * turns), torch.sin(2 * torch.pi * turns)
    third, root = 1 / 3, 3**-0.5
    a = cos + (1 - cos) * third
    b = (1 - cos) * third - root * sin
    c = (1 - cos) * third + root * sin
    return torch.stack([a, b, c, c, a, b, b, c, a], dim=1).reshape(-1, 3, 3)
