"""Sliding windows over a clip, and the few of them that a retrieval model looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of a fixed number of frames, as CiCo lays them (CVPR 2023, released code).

    A clip that is shorter than a window has one, in which its last frame is repeated.

    Attributes:
        window_frames: frames of a window.
        stride: frames from one window to the next; the last one may be nearer, as it ends on the clip's last frame.
        most: windows that are kept, spread evenly over the clip; None keeps all.
    """

    window_frames: int = 16
    stride: int = 1
    most: int | None = 64

    def __post_init__(self) -> None:
        if self.window_frames < 1 or self.stride < 1 or (self.most is not None and self.most < 1):
            raise ValueError(f"window_frames, stride and most must be at least 1, got {self}")

    def __str__(self) -> str:
        kept = "all" if self.most is None else f"at most {self.most}"
        return f"windows of {self.window_frames} frames, stride {self.stride}, {kept}"

    def num_windows(self, num_frames: int | IntArray) -> IntArray:
        """() or (N,) int64, how many windows clips have before any are left out. num_frames: at least 1, or (N,)."""
        sizes = np.asarray(num_frames, dtype=np.int64)
        if np.any(sizes < 1):
            raise ValueError(f"a clip must have at least 1 frame, got {int(sizes.min())}")
        return np.asarray(-(-np.maximum(sizes - self.window_frames, 0) // self.stride) + 1, dtype=np.int64)

    def num_chosen(self, num_frames: int | IntArray) -> IntArray:
        """() or (N,) int64, how many windows are kept. num_frames: at least 1, or (N,)."""
        count = self.num_windows(num_frames)
        return count if self.most is None else np.asarray(np.minimum(count, self.most), dtype=np.int64)

    def starts(self, num_frames: int) -> IntArray:
        """(T',) int64, first frame of every window."""
        places = np.arange(int(self.num_windows(num_frames)), dtype=np.int64)
        return self._starts_of(places, num_frames)

    def chosen(self, num_frames: int) -> IntArray:
        """(M,) int64, first frames of the windows that are kept."""
        return self._starts_of(even(int(self.num_windows(num_frames)), self.most), num_frames)

    def frames(self, num_frames: int) -> IntArray:
        """(M, window_frames) int64, the frames that the windows that are kept show."""
        places = self.chosen(num_frames)[:, None] + np.arange(self.window_frames, dtype=np.int64)
        return np.asarray(np.minimum(places, num_frames - 1), dtype=np.int64)

    def spans(self, num_frames: int, rate_hz: float, offset_seconds: float = 0.0) -> list[tuple[float, float]]:
        """(start_seconds, end_seconds) of each window that is kept; the end lies within the clip."""
        starts = self.chosen(num_frames)
        ends = np.minimum(starts + self.window_frames, num_frames)
        return [
            (offset_seconds + start / rate_hz, offset_seconds + end / rate_hz)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def rows_in(self, stored: SlidingWindows, num_frames: int) -> IntArray:
        """(M,) int64, where the windows that are kept lie among those that others kept of the same clip.

        Raises:
            ValueError: not all of them are there; those of a multiple of a stride are, if `stored` kept all.
        """
        mine, theirs = self.chosen(num_frames), stored.chosen(num_frames)
        rows = np.searchsorted(theirs, mine).clip(max=len(theirs) - 1)
        if self.window_frames != stored.window_frames or np.any(theirs[rows] != mine):
            raise ValueError(f"({stored}) lack some of ({self})")
        return np.asarray(rows, dtype=np.int64)

    def _starts_of(self, places: IntArray, num_frames: int) -> IntArray:
        return np.minimum(places * self.stride, max(0, num_frames - self.window_frames))


def even(count: int, most: int | None) -> IntArray:
    """(M,) int64, at most `most` of `count` places, spread evenly from the first to the last.

    As in CiCo's released code, to the last bit: `np.linspace` in float64, cut off. Where rounding leaves a value just
    below a whole number, the place before it is taken, so whole-number arithmetic would give others.
    """
    if most is None or count <= most:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, count - 1, most).astype(np.int64)


def select(features: NDArray[Any], windows: SlidingWindows, num_frames: int | None = None) -> NDArray[Any]:
    """(M, D), the windows that are kept, out of the features of all windows of the same stride.

    Args:
        features: (T', D) of all windows of a clip, as a cache made with `most=None` holds them.
        windows: what is kept; M is T' or `windows.most`.
        num_frames: of the clip, if T' shall be checked.
    """
    if num_frames is not None and len(features) != windows.num_windows(num_frames):
        raise ValueError(
            f"{len(features)} features for the {windows.num_windows(num_frames)} windows of {num_frames} frames"
        )
    return features[even(len(features), windows.most)]
