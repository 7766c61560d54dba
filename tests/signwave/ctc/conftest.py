"""Enumeration of every CTC path: slow, obvious, and what the fast code is held against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor


class Enumerated(NamedTuple):
    """Per label sequence: log of the sum over its paths, its best path's log probability, and the number of paths."""

    total: dict[tuple[int, ...], float]
    best: dict[tuple[int, ...], float]


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for index, token in enumerate(path) if token and (index == 0 or token != path[index - 1]))


def enumerate_paths(log_probs: Tensor) -> Enumerated:
    """log_probs: (T, V), one item."""
    rows = log_probs.double().tolist()
    scores: dict[tuple[int, ...], list[float]] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(rows)):
        score = sum(row[token] for row, token in zip(rows, path))
        if score > -math.inf:
            scores.setdefault(collapse(path), []).append(score)
    total = {labels: math.log(sum(map(math.exp, values))) for labels, values in scores.items()}
    return Enumerated(total, {labels: max(values) for labels, values in scores.items()})


def draw_log_probs(seed: int, *, num_items: int, num_steps: int, vocab_size: int, holes: bool = False) -> Tensor:
    """Random log probabilities, with some tokens impossible if `holes`."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((num_items, num_steps, vocab_size), generator=generator) * 2
    if holes:
        hole = torch.rand(logits.shape, generator=generator) < 0.3
        hole[..., 0] = False
        logits = logits.masked_fill(hole, -math.inf)
    return logits.log_softmax(-1)


@pytest.fixture(scope="session")
def all_paths() -> Callable[[Tensor], Enumerated]:
    return enumerate_paths


@pytest.fixture(scope="session")
def draw() -> Callable[..., Tensor]:
    return draw_log_probs
