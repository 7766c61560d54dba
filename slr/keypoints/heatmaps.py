"""Gaussian heat-maps of keypoints, made on the device from the coordinates: the input of a keypoint stream.

TwoStream-SLR (Chen et al., NeurIPS 2022) draws each keypoint as exp(-d² / 2σ²) on a 112 × 112 map of the picture, σ = 8
map pixels. Here the points are in shoulder widths, so the map shows a fixed window about the signer instead of the
picture: WINDOW to either side of its centre, CENTRE_Y below the middle between the shoulders. On a clip of
Phoenix-2014T, whose picture is 2.3 × 2.9 shoulder widths, σ = 8 means there 0.16 to 0.20 shoulder widths, here 0.19.
The window holds 98 % of the hand points of 600 fingerspelling recordings, and all of five How2Sign and Phoenix clips.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 1.3
"""Half the side of the window that a map shows, in shoulder widths."""
CENTRE_Y = 0.2
"""Its middle, in shoulder widths below the middle between the shoulders: there is more to see below than above."""
SIGMA_PX = 8.0
SIZE_PX = (112, 112)


def heatmaps(
    points: Tensor,
    *,
    size_px: tuple[int, int] = SIZE_PX,
    sigma_px: float = SIGMA_PX,
    window: float = WINDOW,
    centre_y: float = CENTRE_Y,
    weighted: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw every point on a map of its own.

    A Gaussian in two dimensions is the product of one in each, so only J · (H + W) exponentials are taken per frame;
    they are taken in float32 under autocast too, and only the product is made in `dtype`.

    Args:
        points: (B, T, J, 3) floating, x and y in shoulder widths (see slr.keypoints.layout), confidence; a point with
            confidence 0, as all of padding has, gives an empty map.
        size_px: height and width of the maps. Pixel i shows the coordinate in its middle.
        sigma_px: standard deviation; it goes with size_px.
        window: half of the window's side, in shoulder widths.
        centre_y: the window's middle, in shoulder widths.
        weighted: the highest value is the confidence instead of 1.
        dtype: of the maps; that of `points` if None.

    Returns:
        (B, T, J, H, W) in [0, 1]; in memory the joints come last, so `.transpose(1, 2)` is (B, J, T, H, W) in
        torch.channels_last_3d without a copy.
    """
    if sigma_px <= 0 or window <= 0 or min(size_px) < 1:
        raise ValueError(f"need sigma_px > 0, window > 0 and a size, got {sigma_px}, {window}, {size_px}")
    height, width = size_px
    confidence = points[..., 2].float()
    peak = confidence if weighted else (confidence > 0).float()
    rows = _profile(points[..., 1].float() - centre_y, height, sigma_px, window) * peak[..., None, :]
    columns = _profile(points[..., 0].float(), width, sigma_px, window)
    dtype = dtype or points.dtype
    maps = rows.to(dtype)[..., :, None, :] * columns.to(dtype)[..., None, :, :]
    return maps.movedim(-1, 2)


def _profile(coordinates: Tensor, num_px: int, sigma_px: float, window: float) -> Tensor:
    """(B, T, N, J) float32, Gaussians along one side. coordinates: (B, T, J) float32 from the window's middle."""
    places = torch.arange(num_px, device=coordinates.device, dtype=torch.float32)[:, None]
    centres = (coordinates / window + 1) * (num_px / 2) - 0.5
    return torch.exp(-0.5 * ((places - centres[..., None, :]) / sigma_px).square())
