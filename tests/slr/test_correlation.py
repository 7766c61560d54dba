"""CorrNet's module against a twin in plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from slr.models.correlation import Correlation
from slr.models.packed_frames import find_places

CHANNELS, HEIGHT, WIDTH = 4, 3, 2


def module(gate: float = 0.7) -> Correlation:
    torch.manual_seed(0)
    made = Correlation(CHANNELS)
    made.gate.data.fill_(gate)
    made.direction_weights.data = torch.tensor([0.3, 0.8])
    made.movement_weights.data = torch.tensor([0.2, 0.5, 0.9])
    return made


def half_sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) - 0.5


def by_hand_correlation(made: Correlation, clip: Tensor) -> Tensor:
    """clip: (T, C, H, W), one clip; returns what its neighbours hold, before identification."""
    moved = torch.einsum("dc,tchw->tdhw", made.neighbour.weight[:, :, 0, 0], clip)
    found = torch.zeros_like(clip)
    pixels = [(row, column) for row in range(HEIGHT) for column in range(WIDTH)]
    for t in range(len(clip)):
        beside = (min(t + 1, len(clip) - 1), max(t - 1, 0))  # a clip's ends look at themselves
        for weight, other in zip(made.direction_weights.tolist(), beside, strict=True):
            for here in pixels:
                for there in pixels:
                    affinity = float(clip[t, :, here[0], here[1]] @ moved[other, :, there[0], there[1]])
                    found[t, :, here[0], here[1]] += (
                        weight * half_sigmoid(affinity) * moved[other, :, there[0], there[1]]
                    )
    return found


def by_hand_identification(made: Correlation, clip: Tensor) -> Tensor:
    """clip: (T, C, H, W); the weights of places, from nine frames and three dilations."""
    reduced = torch.einsum("dc,tchw->tdhw", made.reduce.weight[:, :, 0, 0], clip)
    moved = torch.zeros_like(reduced)
    for weight, conv, dilation in zip(made.movement_weights, made.movements, (1, 2, 3), strict=True):
        for t in range(len(clip)):
            for row in range(HEIGHT):
                for column in range(WIDTH):
                    total = conv.bias.clone()
                    for dt in range(-4, 5):
                        for dy in (-1, 0, 1):
                            for dx in (-1, 0, 1):
                                y, x = row + dilation * dy, column + dilation * dx
                                if 0 <= t + dt < len(clip) and 0 <= y < HEIGHT and 0 <= x < WIDTH:
                                    total = total + conv.weight[:, 0, dt + 4, dy + 1, dx + 1] * reduced[t + dt, :, y, x]
                    moved[t, :, row, column] += weight * total
    restored = torch.einsum("cd,tdhw->tchw", made.restore.weight[:, :, 0, 0], moved)
    return torch.sigmoid(restored) - 0.5


@torch.no_grad()
def test_it_is_what_loops_compute_clip_by_clip() -> None:
    made = module()
    lengths = [3, 1, 5]
    places = find_places(torch.tensor(lengths), 5)
    rows = torch.randn(9, CHANNELS, HEIGHT, WIDTH)
    found = made(rows, places)
    for clip, result in zip(rows.split(lengths), found.split(lengths), strict=True):
        expected = clip + 0.7 * by_hand_correlation(made, clip) * by_hand_identification(made, clip)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_an_untrained_one_changes_nothing() -> None:
    rows = torch.randn(6, CHANNELS, HEIGHT, WIDTH)
    made = Correlation(CHANNELS)
    assert float(made.gate) == 0.0
    assert torch.equal(made(rows, find_places(torch.tensor([6]), 6)), rows)


def test_the_gate_learns_first() -> None:
    made = Correlation(CHANNELS)
    made(torch.randn(6, CHANNELS, HEIGHT, WIDTH), find_places(torch.tensor([6]), 6)).square().sum().backward()
    assert made.gate.grad is not None
    assert float(made.gate.grad.abs()) > 0


def test_clips_do_not_mix() -> None:
    rows = torch.randn(7, CHANNELS, HEIGHT, WIDTH, requires_grad=True)
    module()(rows, find_places(torch.tensor([3, 4]), 4))[:3].sum().backward()
    assert rows.grad is not None
    assert rows.grad[:3].abs().sum() > 0
    assert rows.grad[3:].abs().sum() == 0


def test_many_rows_at_a_time_or_few() -> None:
    made = module()
    rows, places = torch.randn(70, CHANNELS, HEIGHT, WIDTH), find_places(torch.tensor([40, 30]), 40)
    with torch.no_grad():
        few = made(rows, places)
    torch.testing.assert_close(made(rows, places), few)


@pytest.mark.parametrize(
    ("lengths", "before", "after"),
    [
        ([3], [0, 0, 1], [1, 2, 2]),
        ([2, 3], [0, 0, 2, 2, 3], [1, 1, 3, 4, 4]),
        ([3, 3], [0, 0, 1, 3, 3, 4], [1, 2, 2, 4, 5, 5]),
        ([1, 1], [0, 1], [0, 1]),
    ],
)
def test_neighbours_stay_in_their_clip(lengths: list[int], before: list[int], after: list[int]) -> None:
    places = find_places(torch.tensor(lengths), max(lengths), num_valid=sum(lengths))
    assert [found.tolist() for found in places.neighbours()] == [before, after]


def test_rows_go_back_where_they_were() -> None:
    values = torch.randn(3, 4, 2)
    num_frames = torch.tensor([2, 4, 1])
    places = find_places(num_frames, 4)
    spread = places.spread(places.take(values))
    for row, length in enumerate([2, 4, 1]):
        assert torch.equal(spread[row, :length], values[row, :length])
        assert not spread[row, length:].any()
    assert torch.equal(places.collect(spread), places.take(values))
