"""Fusion: a weighted sum, told by hand, and loud where the two encoders saw other windows."""

from __future__ import annotations

import numpy as np
import pytest

from signwave.errors import ArtefactError
from slr.spotting.fusion import fuse

RNG = np.random.default_rng(0)


def test_it_is_the_weighted_sum() -> None:
    one, other = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    for alpha in (0.0, 0.8, 0.9, 1.0):
        found = fuse(one, other, alpha=alpha)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, alpha * one + (1 - alpha) * other, atol=1e-6)
    np.testing.assert_array_equal(fuse(one, other), fuse(one, other, alpha=0.8))
    np.testing.assert_allclose(fuse(one, one, alpha=0.3), one, atol=1e-6)


def test_half_precision_is_mixed_in_single() -> None:
    one, other = (RNG.normal(size=(4, 8)) * 100).astype(np.float16), RNG.normal(size=(4, 8)).astype(np.float16)
    expected = np.float32(0.9) * one.astype(np.float32) + np.float32(1 - 0.9) * other.astype(np.float32)
    np.testing.assert_array_equal(fuse(one, other, alpha=0.9), expected)


def test_concatenation_takes_any_widths() -> None:
    one, other = RNG.normal(size=(4, 2)).astype(np.float16), RNG.normal(size=(4, 3)).astype(np.float32)
    found = fuse(one, other, mode="concatenate")
    assert (found.shape, found.dtype) == ((4, 5), np.float32)
    np.testing.assert_array_equal(found[:, :2], one.astype(np.float32))
    np.testing.assert_array_equal(found[:, 2:], other)


@pytest.mark.parametrize(
    ("shapes", "mode"),
    [(((4, 3), (5, 3)), "mix"), (((1, 3), (5, 3)), "mix"), (((4, 3), (5, 3)), "concatenate"), (((3,), (3,)), "mix")],
)
def test_other_windows_are_an_error_and_never_broadcast(shapes: tuple[tuple[int, ...], ...], mode: str) -> None:
    one, other = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ArtefactError, match=r"clip 'c1': .*same windows: extract both with the same window"):
        fuse(one, other, mode=mode, name="c1")  # type: ignore[arg-type]


def test_other_widths_cannot_be_mixed() -> None:
    with pytest.raises(ArtefactError, match=r"are 3 wide, the aware one's 1; mix encoders of one kind"):
        fuse(np.zeros((4, 3)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="alpha must be in"):
        fuse(np.zeros((4, 3)), np.zeros((4, 3)), alpha=1.2)
