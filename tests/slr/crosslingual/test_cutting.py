"""From paths to segments, against plain loops over small lattices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.ctc import align, min_steps
from slr.crosslingual.cutting import Cutting, Geometry, cut, widen
from slr.crosslingual.segments import BLANK_GLOSS, Segment
from slr.decoding import grow_spans

NAMES = ("", "A", "B", "C")


def _grown(spans: list[tuple[int, int]], tokens: list[int], rivals: list[int]) -> list[tuple[int, int]]:
    """Growth one step at a time, left and then right, gloss by gloss."""
    found: list[tuple[int, int]] = []
    for place, (start, end) in enumerate(spans):
        floor = found[-1][1] if found else 0
        ceiling = spans[place + 1][0] if place + 1 < len(spans) else len(rivals)
        while start > floor and rivals[start - 1] == tokens[place]:
            start -= 1
        while end < ceiling and rivals[end] == tokens[place]:
            end += 1
        found.append((start, end))
    return found


@st.composite
def spans_of(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    num_steps = draw(st.integers(1, 20))
    count = draw(st.integers(0, num_steps // 2))
    edges = sorted(draw(st.lists(st.integers(0, num_steps), min_size=2 * count, max_size=2 * count, unique=True)))
    spans = [(edges[2 * place], edges[2 * place + 1]) for place in range(count)]
    tokens = draw(st.lists(st.sampled_from([-1, 1, 2, 3]), min_size=count, max_size=count))
    rivals = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=num_steps, max_size=num_steps))
    return spans, tokens, rivals


@settings(max_examples=300, deadline=None)
@given(spans_of())
def test_growth_equals_a_plain_loop(case: tuple[list[tuple[int, int]], list[int], list[int]]) -> None:
    spans, tokens, rivals = case
    assert grow_spans(spans, tokens, np.asarray(rivals)) == _grown(spans, tokens, rivals)


@settings(max_examples=300, deadline=None)
@given(spans_of(), st.integers(1, 9))
def test_widening_keeps_order_and_takes_nothing(
    case: tuple[list[tuple[int, int]], list[int], list[int]], least: int
) -> None:
    spans, _, rivals = case
    found = widen(spans, min_frames=least, num_frames=len(rivals))
    assert len(found) == len(spans)
    for (start, end), (first, stop) in zip(spans, found, strict=True):
        assert 0 <= first <= start <= end <= stop <= len(rivals)
        assert stop - first <= max(least, end - start)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(found))
    if len(found) == 1:
        assert found[0][1] - found[0][0] == max(spans[0][1] - spans[0][0], min(least, len(rivals)))


def test_one_step_becomes_five_frames() -> None:
    assert widen([(8, 12)], min_frames=5, num_frames=40) == [(8, 13)]
    assert widen([(0, 4)], min_frames=5, num_frames=40) == [(0, 5)]
    assert widen([(36, 40)], min_frames=5, num_frames=40) == [(35, 40)]
    assert widen([(8, 9)], min_frames=5, num_frames=40) == [(6, 11)]


def _cut(log_probs: torch.Tensor, labels: list[int], cutting: Cutting, *, stride: int = 4) -> list[Segment]:
    size = log_probs.shape[0]
    (found,) = align(log_probs[None], torch.tensor([size]), torch.tensor([labels]), torch.tensor([len(labels)]))
    assert found is not None
    geometry = Geometry(stride, -stride / 2, size * stride - 1)
    names = [NAMES[label] for label in labels]
    return cut(found, log_probs.exp().numpy(), names, geometry, corpus="c", clip="x", cutting=cutting)


def _best_path(log_probs: torch.Tensor, labels: list[int]) -> list[tuple[int, int]]:
    """Step spans of the best of all paths."""
    best: tuple[float, tuple[int, ...]] = (-math.inf, ())
    for path in itertools.product(sorted({0, *labels}), repeat=len(log_probs)):
        runs = [token for token, _ in itertools.groupby(path) if token]
        if runs == labels:
            best = max(best, (float(sum(log_probs[step, token] for step, token in enumerate(path))), path))
    spans, step = [], 0
    for token, run in itertools.groupby(best[1]):
        size = len(list(run))
        if token:
            spans.append((step, step + size))
        step += size
    return spans


@pytest.mark.parametrize("seed", range(12))
def test_segments_are_those_of_the_best_of_all_paths(seed: int) -> None:
    torch.manual_seed(seed)
    log_probs = (2 * torch.randn(6, 4)).log_softmax(-1)
    labels = [[1, 2], [1, 1], [2], [3, 1, 3]][seed % 4]
    found = _cut(log_probs, labels, Cutting(grow=True, min_frames=1, min_blank_steps=1))
    rivals = (log_probs[:, 1:].argmax(1) + 1).tolist()
    path = _best_path(log_probs, labels)
    wanted = _grown(path, labels, rivals)
    signs = [segment for segment in found if segment.index >= 0]
    frames = [(max(0, 4 * start - 2), min(23, 4 * end - 2)) for start, end in wanted]
    assert [(segment.start_frame, segment.end_frame) for segment in signs] == frames
    assert [segment.grown for segment in signs] == [a != b for a, b in zip(wanted, path, strict=True)]
    for segment, label, (start, end) in zip(signs, labels, path, strict=True):
        values = log_probs[start:end, label].exp()
        assert segment.mean_posterior == pytest.approx(float(values.mean()), rel=1e-5)
        assert segment.min_posterior == pytest.approx(float(values.min()), rel=1e-5)
        assert segment.num_steps == end - start
    # Every step is in a sign or in a blank.
    covered = sorted((segment.start_frame, segment.end_frame) for segment in found)
    assert covered[0][0] == 0
    assert covered[-1][1] in (22, 23)  # step 5 ends at frame 22
    assert all(left[1] == right[0] for left, right in itertools.pairwise(covered))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(1, 16))
def test_monotone_without_overlap_one_segment_a_gloss(seed: int, labels: list[int], num_steps: int) -> None:
    torch.manual_seed(seed)
    if min_steps(labels) > num_steps:
        return
    log_probs = (3 * torch.randn(num_steps, 4)).log_softmax(-1)
    found = _cut(log_probs, labels, Cutting())
    signs = [segment for segment in found if segment.index >= 0]
    assert [segment.gloss for segment in signs] == [NAMES[label] for label in labels]
    assert [segment.index for segment in signs] == list(range(len(labels)))
    assert all(a.end_frame <= b.start_frame for a, b in itertools.pairwise(found))
    assert all(0 <= s.start_frame < s.end_frame <= 4 * num_steps - 1 for s in found)
    assert all(s.gloss == BLANK_GLOSS and s.num_steps >= 2 for s in found if s.index < 0)


def test_long_clips_with_tiny_posteriors_do_not_underflow() -> None:
    """400 steps at p = 1e-3: a product of raw probabilities is 0 after 16 of them."""
    log_probs = torch.full((400, 4), math.log(1e-3))
    log_probs[:, 0] = math.log(1 - 3e-3)
    log_probs[10:390] = torch.tensor([1e-3, 0.3, 0.3, 0.399]).log()
    log_probs[100, 1], log_probs[300, 2] = math.log(0.31), math.log(0.31)
    found = _cut(log_probs, [1, 2], Cutting(grow=False, min_blank_steps=0))
    assert len(found) == 2
    assert found[0].end_frame <= found[1].start_frame
    assert all(0 < segment.min_posterior <= segment.mean_posterior <= 1 for segment in found)


def test_a_wildcard_is_not_known_and_does_not_grow() -> None:
    log_probs = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.2, 0.1, 0.6, 0.1]]).log()
    (found,) = align(log_probs[None], torch.tensor([3]), torch.tensor([[1, -1]]), torch.tensor([2]))
    assert found is not None
    cuts = cut(
        found, log_probs.exp().numpy(), ["A", "NEW"], Geometry(4, 0.0, 12), corpus="c", clip="x", cutting=Cutting()
    )
    signs = [segment for segment in cuts if segment.index >= 0]
    assert [(segment.gloss, segment.known) for segment in signs] == [("A", True), ("NEW", False)]
