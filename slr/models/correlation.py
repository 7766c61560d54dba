"""CorrNet's module: each frame looks up where its pixels went in the frames beside it.

Reference: Hu et al., "Continuous Sign Language Recognition with Correlation Network", CVPR 2023, §3.2 (correlation) and
§3.3 (identification), in the form of the authors' release: the products are not divided by the number of channels, and
the identification module spreads in space by dilation alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slr.models.packed_frames import FramePlaces

REDUCTION = 16
"""Channels of the identification module are fewer by this factor."""
_FRAMES = 9
_DILATIONS = (1, 2, 3)
_ROWS_AT_ONCE = 32


class Correlation(nn.Module):
    """Adds to each frame what its neighbours hold that resembles it, where something of note moves.

    The gate starts at 0: an untrained module changes nothing.

    Args:
        num_channels: C of the features.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        reduced = max(1, num_channels // REDUCTION)
        self.gate = nn.Parameter(torch.zeros(()))
        self.neighbour = nn.Conv2d(num_channels, num_channels, 1, bias=False)
        self.direction_weights = nn.Parameter(torch.full((2,), 1 / 2))
        self.reduce = nn.Conv2d(num_channels, reduced, 1, bias=False)
        self.movements = nn.ModuleList(
            nn.Conv3d(reduced, reduced, (_FRAMES, 3, 3), padding=(_FRAMES // 2, d, d), dilation=(1, d, d),
                      groups=reduced)
            for d in _DILATIONS
        )  # fmt: skip
        self.movement_weights = nn.Parameter(torch.full((len(_DILATIONS),), 1 / len(_DILATIONS)))
        self.restore = nn.Conv2d(reduced, num_channels, 1, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor, places: FramePlaces) -> Tensor:
        """The features and the gated correlation.

        Args:
            features: (M, C, H, W) float, rows of frames.
            places: which frames they are; only frames of one clip look at each other.
        """
        found = self._correlate(features, places) * self._identify(features, places)
        return features + self.gate.to(found.dtype) * found

    def _correlate(self, features: Tensor, places: FramePlaces) -> Tensor:
        """(M, C, H, W), what the frames before and after hold, weighed by how like it is to each pixel."""
        # sigmoid(a) - 1/2 = tanh(a / 2) / 2, which keeps its digits near 0 in half precision. Both halvings fall on
        # the small factors, so that of the pixel-by-pixel products only the tanh is kept for the gradient.
        here = features.flatten(2).transpose(1, 2) / 2
        there = self.neighbour(features).flatten(2)
        before, after = places.neighbours()
        # Without a gradient the products of a few frames at a time are held; they are the largest tensors of all.
        size = len(here) if torch.is_grad_enabled() else _ROWS_AT_ONCE
        parts = [
            self.direction_weights[0] * _look_up(here[first : first + size], there, after[first : first + size])
            + self.direction_weights[1] * _look_up(here[first : first + size], there, before[first : first + size])
            for first in range(0, len(here), size)
        ]
        return torch.cat(parts).transpose(1, 2).reshape(features.shape)

    def _identify(self, features: Tensor, places: FramePlaces) -> Tensor:
        """(M, C, H, W) in [-1/2, 1/2], how much each place matters by what happens there in nine frames."""
        reduced = places.spread(self.reduce(features)).transpose(1, 2)
        maps = [weight * conv(reduced) for weight, conv in zip(self.movement_weights, self.movements, strict=True)]
        moved = places.collect(torch.stack(maps).sum(0).transpose(1, 2))
        return torch.tanh(self.restore(moved) / 2) / 2


def _look_up(here: Tensor, there: Tensor, rows: Tensor) -> Tensor:
    """here: (M', P, C), half the features. there: (M, C, P). rows: (M',) int64. Returns (M', P, C)."""
    beside = there.index_select(0, rows)
    return torch.bmm(torch.tanh(torch.bmm(here, beside)), beside.transpose(1, 2) / 2)
