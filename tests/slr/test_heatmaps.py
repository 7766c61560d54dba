"""Heat-maps against a loop over pixels, their layout, precision, and what isn't seen."""

from __future__ import annotations

import math

import pytest
import torch

from slr.keypoints.heatmaps import CENTRE_Y, WINDOW, heatmaps


def _slow(
    x: float, y: float, size_px: tuple[int, int], sigma_px: float, window: float, centre_y: float
) -> torch.Tensor:
    """One map, pixel by pixel: coordinate of the pixel's middle → distance in pixels → Gaussian."""
    height, width = size_px
    result = torch.zeros(height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            at_x = -window + (column + 0.5) * 2 * window / width
            at_y = centre_y - window + (row + 0.5) * 2 * window / height
            across, down = (x - at_x) * width / (2 * window), (y - at_y) * height / (2 * window)
            result[row, column] = math.exp(-(across**2 + down**2) / (2 * sigma_px**2))
    return result


def test_maps_equal_a_loop_over_pixels() -> None:
    points = torch.rand(2, 3, 4, 3, generator=torch.Generator().manual_seed(0)) * 4 - 2
    points[..., 2] = points[..., 2].abs().clamp(0.1, 1)
    maps = heatmaps(points, size_px=(9, 14), sigma_px=2.0, window=1.5, centre_y=0.3)
    assert maps.shape == (2, 3, 4, 9, 14)
    for index in [(0, 0, 0), (1, 2, 3), (0, 1, 2)]:
        x, y, _ = points[index].tolist()
        torch.testing.assert_close(maps[index].double(), _slow(x, y, (9, 14), 2.0, 1.5, 0.3), atol=1e-6, rtol=0)


def test_the_highest_value_lies_where_the_point_is() -> None:
    points = torch.tensor([[[[0.0, CENTRE_Y, 1.0], [-WINDOW + 0.01, CENTRE_Y - WINDOW + 0.01, 0.5]]]])
    maps = heatmaps(points, size_px=(113, 113))
    assert divmod(int(maps[0, 0, 0].argmax()), 113) == (56, 56)
    assert maps[0, 0, 0, 56, 56] == 1
    assert int(maps[0, 0, 1].argmax()) == 0
    assert heatmaps(points, size_px=(113, 113), weighted=True)[0, 0, 1].max() == pytest.approx(0.5, abs=1e-3)


def test_what_is_not_seen_and_padding_give_empty_maps() -> None:
    points = torch.zeros(1, 4, 2, 3)
    points[0, :2, 0] = torch.tensor([0.1, 0.2, 0.7])
    maps = heatmaps(points, size_px=(8, 8), sigma_px=2.0)
    assert maps[0, :2, 0].amax() > 0.5
    assert maps[0, :, 1].count_nonzero() == 0
    assert maps[0, 2:].count_nonzero() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_only_the_result(dtype: torch.dtype) -> None:
    points = torch.rand(1, 2, 63, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    exact = heatmaps(points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = heatmaps(points, dtype=dtype)
    assert half.dtype == dtype
    assert (half.float() - exact).abs().max() < 3 * torch.finfo(dtype).eps  # two factors and their product are rounded


def test_a_transpose_makes_them_channels_last_without_a_copy() -> None:
    maps = heatmaps(torch.rand(2, 3, 63, 3), size_px=(6, 7)).transpose(1, 2)
    assert maps.is_contiguous(memory_format=torch.channels_last_3d)


def test_points_pass_their_gradient() -> None:
    points = torch.rand(1, 1, 2, 3, requires_grad=True)
    heatmaps(points, size_px=(8, 8), sigma_px=2.0).sum().backward()
    assert points.grad is not None
    assert points.grad[..., :2].abs().min() > 0


def test_useless_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma_px > 0"):
        heatmaps(torch.zeros(1, 1, 1, 3), sigma_px=0)


def test_it_compiles_into_one_graph() -> None:
    points = torch.rand(1, 2, 63, 3)
    compiled = torch.compile(heatmaps, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(points, size_px=(8, 8)), heatmaps(points, size_px=(8, 8)))


@pytest.mark.gpu
def test_the_device_gives_what_the_host_gives_and_is_not_waited_for() -> None:
    points = torch.rand(2, 3, 63, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    there = points.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        maps = heatmaps(there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(maps.cpu(), heatmaps(points), atol=1e-5, rtol=0)
