"""Spans of windows: the released loop written out as a twin, and what must hold whatever the windows."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slr.spotting.suppression import Span, Suppression, spans_of_classes, suppress

CONFIDENCES = st.sampled_from([0.1, 0.59, 0.6, 0.61, 0.7, 0.8, 0.9, 0.99])  # few, so that there are ties
WINDOWS = st.dictionaries(st.integers(0, 120), CONFIDENCES, max_size=60)
RULES = st.builds(
    lambda merge, more: Suppression(merge_frames=merge, suppress_frames=merge + more),
    st.integers(0, 9),
    st.integers(0, 30),
)  # fmt: skip
SIZE = 16


def _twin(windows: dict[int, float], rules: Suppression) -> list[Span]:
    """As it is told in words, one window after the other; every kept window is asked."""
    kept: dict[int, list[int]] = {}
    for start, confidence in sorted(windows.items(), key=lambda one: (-one[1], one[0])):
        if confidence <= rules.threshold:
            continue
        near = sorted((abs(start - other), other) for other in kept)
        if near and near[0][0] <= rules.merge_frames:
            kept[near[0][1]].append(start)
        elif not near or near[0][0] > rules.suppress_frames:
            kept[start] = [start]
    found = []
    for opener, starts in sorted(kept.items()):
        frames = {frame for start in starts for frame in range(start, start + SIZE)}
        sure = [windows[start] for start in starts]
        found.append(
            Span(min(frames), max(frames) + 1, windows[opener], float(np.mean(sure)), min(sure), len(starts))
        )  # fmt: skip
    return found


def _run(windows: dict[int, float], rules: Suppression) -> list[Span]:
    return suppress(list(windows), list(windows.values()), window_frames=SIZE, rules=rules)


@given(WINDOWS, RULES)
def test_spans_are_those_of_the_loop(windows: dict[int, float], rules: Suppression) -> None:
    for one, other in zip(_run(windows, rules), _twin(windows, rules), strict=True):
        assert one[:3] == other[:3]
        assert one[3:] == pytest.approx(other[3:])


@given(WINDOWS, RULES, st.randoms(use_true_random=False))
def test_the_order_of_the_windows_does_not_matter(
    windows: dict[int, float], rules: Suppression, chance: random.Random
) -> None:
    items = list(windows.items())
    chance.shuffle(items)
    assert _run(dict(items), rules) == _run(windows, rules)


@given(WINDOWS, RULES)
def test_what_holds_for_spans(windows: dict[int, float], rules: Suppression) -> None:
    found = _run(windows, rules)
    for span in found:
        assert SIZE <= span.end - span.start <= SIZE + 2 * rules.merge_frames
        assert rules.threshold < span.min_confidence <= span.mean_confidence + 1e-9 <= span.confidence + 2e-9
    for left, right in itertools.pairwise(found):
        # Those that opened them lie further apart than suppress_frames; both may have grown by merge_frames.
        assert right.start - (left.end - SIZE) > rules.suppress_frames - 2 * rules.merge_frames
    if rules.suppress_frames >= SIZE + 2 * rules.merge_frames:
        assert all(left.end <= right.start for left, right in itertools.pairwise(found)), (
            "spans of a class are disjoint"
        )
    sure = [start for start, confidence in windows.items() if confidence > rules.threshold]
    assert bool(found) == bool(sure)
    for start in sure:  # nothing is far from all spans
        assert any(
            span.start - rules.suppress_frames <= start <= span.end - SIZE + rules.suppress_frames for span in found
        )


@given(WINDOWS, RULES)
def test_windows_below_the_threshold_change_nothing(windows: dict[int, float], rules: Suppression) -> None:
    sure = {start: confidence for start, confidence in windows.items() if confidence > rules.threshold}
    assert _run(windows, rules) == _run(sure, rules)


def test_an_example_by_hand() -> None:
    windows = {10: 0.9, 11: 0.8, 13: 0.7, 14: 0.95, 17: 0.65, 30: 0.94, 38: 0.92, 39: 0.91, 50: 0.6}
    # 14 opens; 11, 13 and 17 are within 3 of it, 10 and 30 and 38 within 24; 39 is 25 away and opens the next.
    assert _run(windows, Suppression()) == [
        Span(11, 33, 0.95, pytest.approx((0.95 + 0.8 + 0.7 + 0.65) / 4), 0.65, 4),
        Span(39, 55, 0.91, 0.91, 0.91, 1),
    ]


def test_of_two_equally_sure_windows_the_earlier_opens() -> None:
    (span,) = _run({8: 0.9, 5: 0.9, 2: 0.9, 12: 0.9}, Suppression(merge_frames=3))
    assert (span.start, span.end, span.num_windows) == (2, 21, 2), "2 opens: 5 is near it, 8 and 12 are not"


def test_windows_speak_for_their_likeliest_class_alone() -> None:
    probs = np.array([[0.1, 0.7, 0.2], [0.1, 0.2, 0.7], [0.05, 0.9, 0.05], [0.2, 0.6, 0.2], [0.9, 0.05, 0.05]])
    found = spans_of_classes(
        np.log(probs).astype(np.float32), np.array([0, 1, 2, 40, 60]), window_frames=SIZE, rules=Suppression()
    )
    assert [(label, span.start, span.end, span.num_windows) for label, span in found] == [
        (1, 0, 18, 2), (2, 1, 17, 1), (0, 60, 76, 1),
    ]  # fmt: skip


def test_rules_that_contradict_each_other_are_refused() -> None:
    for values in ({"threshold": 1.0}, {"threshold": -0.1}, {"merge_frames": 25}, {"merge_frames": -1}):
        with pytest.raises(ValueError, match=r"threshold|merge_frames"):
            Suppression(**values)
