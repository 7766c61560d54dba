"""Sliding windows as CiCo lays and chooses them, against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slr.features.windows import SlidingWindows, even, select

FRAMES = st.integers(1, 700)


def released(num_frames: int, window: int, stride: int) -> list[int]:
    """First frames as the released code makes them: a loop, the last window moved back."""
    if num_frames <= window:
        return [0]
    count = math.ceil((num_frames - window) / stride) + 1
    return [min(i * stride, num_frames - window) for i in range(count)]


@given(FRAMES, st.integers(1, 32), st.integers(1, 9))
def test_windows_are_those_of_the_released_code(num_frames: int, window: int, stride: int) -> None:
    windows = SlidingWindows(window, stride, None)
    starts = released(num_frames, window, stride)
    assert windows.starts(num_frames).tolist() == windows.chosen(num_frames).tolist() == starts
    assert windows.starts(num_frames).dtype == np.int64
    assert windows.num_windows(num_frames) == windows.num_chosen(num_frames) == len(starts)
    if num_frames >= window:
        assert starts[-1] + window == num_frames


@given(FRAMES, st.integers(1, 64))
def test_the_chosen_are_spread_over_all(num_frames: int, most: int) -> None:
    windows = SlidingWindows(16, 1, most)
    starts = released(num_frames, 16, 1)
    chosen = windows.chosen(num_frames).tolist()
    if len(starts) <= most:
        assert chosen == starts
    else:
        assert chosen == [starts[i] for i in np.linspace(0, len(starts) - 1, most, dtype=int)]
    assert len(chosen) == min(most, len(starts)) == windows.num_chosen(num_frames)
    assert chosen == sorted(set(chosen))


def test_the_choice_is_the_released_one_to_the_last_bit() -> None:
    for count in range(64, 4000):
        assert even(count, 64).tolist() == list(np.linspace(0, count - 1, 64, dtype=int))
    # 42 * 153 / 63 is 102, but just below it in floating point: whole-number arithmetic isn't what was released.
    assert even(154, 64)[[21, 42, 49]].tolist() == [50, 101, 118]
    assert [i * 153 // 63 for i in (21, 42, 49)] == [51, 102, 119]
    assert even(200, 64)[[0, -1]].tolist() == [0, 199]


@given(FRAMES, st.integers(1, 20), st.integers(1, 5))
def test_frames_repeat_the_last_one_of_a_short_clip(num_frames: int, window: int, stride: int) -> None:
    windows = SlidingWindows(window, stride, 9)
    expected = [[min(start + i, num_frames - 1) for i in range(window)] for start in windows.chosen(num_frames)]
    assert windows.frames(num_frames).tolist() == expected


@given(FRAMES)
def test_spans_are_the_frames_of_the_windows(num_frames: int) -> None:
    windows = SlidingWindows(16, 2, 9)
    spans = windows.spans(num_frames, 25.0, 10.0)
    for (start, end), first in zip(spans, windows.chosen(num_frames).tolist(), strict=True):
        assert start == pytest.approx(10 + first / 25)
        assert end == pytest.approx(10 + min(first + 16, num_frames) / 25)


@given(st.lists(FRAMES, max_size=20), st.integers(1, 5))
def test_counts_of_many_clips_are_those_of_each(lengths: list[int], stride: int) -> None:
    windows, sizes = SlidingWindows(16, stride, 64), np.array(lengths, dtype=np.int64)
    assert windows.num_windows(sizes).tolist() == [len(windows.starts(size)) for size in lengths]
    assert windows.num_chosen(sizes).tolist() == [len(windows.chosen(size)) for size in lengths]


@given(FRAMES, st.integers(1, 4), st.integers(1, 70) | st.none())
def test_all_windows_serve_any_choice(num_frames: int, stride: int, most: int | None) -> None:
    every = SlidingWindows(16, 1, None)
    features = every.starts(num_frames)[:, None] * np.ones(3)
    wanted = SlidingWindows(16, stride, most)
    assert features[wanted.rows_in(every, num_frames), 0].tolist() == wanted.chosen(num_frames).tolist()
    if stride == 1:
        assert select(features, wanted, num_frames)[:, 0].tolist() == wanted.chosen(num_frames).tolist()


def test_windows_that_are_not_there_are_told() -> None:
    with pytest.raises(ValueError, match=r"at most 4\) lack some of \(windows of 16 frames, stride 1, all\)"):
        SlidingWindows(most=None).rows_in(SlidingWindows(most=4), 100)
    with pytest.raises(ValueError, match="lack some of"):
        SlidingWindows(8).rows_in(SlidingWindows(16), 8)
    with pytest.raises(ValueError, match="3 features for the 5 windows of 20 frames"):
        select(np.zeros((3, 2)), SlidingWindows(), 20)


def test_windows_that_make_no_sense_are_named() -> None:
    for settings in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            SlidingWindows(*settings)
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        SlidingWindows().starts(0)
