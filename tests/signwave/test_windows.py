"""Windows over any array and over streams: every step decided once, by a window that holds its context."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.windows import sliding, windows

STRIDE = 4


def chunks_of(num: int, sizes: list[int]) -> list[np.ndarray]:
    values = np.arange(num, dtype=np.float32)[:, None].repeat(2, 1)
    pieces, start = [], 0
    for size in [*sizes, num]:
        pieces.append(values[start : start + size])
        start += size
    return [piece for piece in pieces if len(piece)]


@given(
    num=st.integers(1, 300),
    sizes=st.lists(st.integers(1, 60), max_size=6),
    hop=st.integers(1, 6),
    lookahead=st.integers(0, 5),
    context=st.integers(0, 8),
)
@settings(max_examples=200, deadline=None)
def test_sliding_windows_decide_each_step_once(
    num: int, sizes: list[int], hop: int, lookahead: int, context: int
) -> None:
    found = sliding(
        chunks_of(num, sizes),
        window_steps=hop + lookahead + context,
        hop_steps=hop,
        lookahead_steps=lookahead,
        samples_per_step=STRIDE,
    )
    decided: list[float] = []
    for window in found:
        first = window.first_step * STRIDE
        samples = window.samples[:, 0]
        assert samples.tolist() == list(range(first, first + len(samples)))
        assert len(samples) <= (hop + lookahead + context) * STRIDE
        assert window.keep_from - window.first_step == min(window.keep_from, context) or window.keep_to is None
        if window.keep_to is not None:
            assert first + len(samples) == (window.keep_to + lookahead) * STRIDE
        steps = torch.from_numpy(samples[::STRIDE].copy())[:, None]
        decided += window.middle(steps, len(steps))[:, 0].tolist()
    assert decided == list(range(0, num, STRIDE))


def test_a_window_comes_as_soon_as_its_last_sample() -> None:
    num_read = 0

    def frames():
        nonlocal num_read
        for value in range(40):
            num_read += 1
            yield np.full((1, 2), value)

    options = {"window_steps": 5, "hop_steps": 1, "lookahead_steps": 2, "samples_per_step": STRIDE}
    seen = [(num_read, window.keep_from) for window in sliding(frames(), **options)]
    assert seen[:3] == [(12, 0), (16, 1), (20, 2)]
    assert seen[-1] == (40, 8)


def test_windows_take_arrays_of_any_shape() -> None:
    frames = np.arange(100 * 6).reshape(100, 3, 2)
    cut = list(windows([frames[:33], frames[33:]], window_steps=8, margin_steps=2, samples_per_step=STRIDE))
    assert all(window.samples.shape[1:] == (3, 2) for window in cut)
    kept = [window.middle(torch.arange(len(window.samples[::4])) + window.first_step, 8) for window in cut]
    assert torch.cat(kept).tolist() == list(range(25))


@pytest.mark.parametrize("bad", [(3, 0, 1), (3, 2, 2), (3, 1, -1)])
def test_windows_that_hold_too_little_are_refused(bad: tuple[int, int, int]) -> None:
    window, hop, lookahead = bad
    with pytest.raises(ValueError, match="must fit into the window"):
        next(sliding([], window_steps=window, hop_steps=hop, lookahead_steps=lookahead, samples_per_step=1))
