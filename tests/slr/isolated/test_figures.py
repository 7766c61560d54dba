"""Rates of isolated signs, and the temperature of their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from slr.isolated.figures import figures, fit_temperature, ranks


def test_ties_count_against_the_right_class() -> None:
    log_probs = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [1.0, 2.0, 2.0]])
    assert ranks(log_probs, torch.tensor([0, 0, 1, 0])).tolist() == [0, 2, 1, 2]
    assert ranks(log_probs, torch.tensor([2, 1, 2, 2])).tolist() == [2, 2, 2, 1]


def test_nan_is_never_right() -> None:
    nan = float("nan")
    log_probs = torch.tensor([[nan, nan, nan], [nan, 0.0, -1.0], [0.0, nan, -1.0]])
    assert ranks(log_probs, torch.tensor([1, 1, 0])).tolist() == [2, 1, 1]


def test_ranks_are_those_of_a_loop() -> None:
    log_probs = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    labels = torch.arange(40) % 7
    for row, label, rank in zip(log_probs.tolist(), labels.tolist(), ranks(log_probs, labels).tolist(), strict=True):
        assert rank == sum(value >= row[label] for place, value in enumerate(row) if place != label)


def _rows(places: list[list[int]], num_classes: int = 8) -> Tensor:
    """A row for each list of classes, the likeliest first."""
    scores = torch.full((len(places), num_classes), -9.0)
    for row, order in zip(scores, places, strict=True):
        row[order] = -torch.arange(len(order), dtype=torch.float32)
    return scores.log_softmax(1)


def test_rates_over_signs_and_over_classes() -> None:
    order = [[1, 2], [1, 2], [2, 1], [3, 4, 5, 6, 7, 2], [0, 1], [3, 0]]
    labels = [1, 1, 1, 2, 0, 0]
    found = figures(_rows(order), labels, list("aabcde"))
    assert (found["num_signs"], found["num_classes"], found["num_blanks"]) == (4, 2, 2)
    assert (found["top1"], found["top5"]) == (2 / 4, 3 / 4)
    assert (found["class_top1"], found["class_top5"]) == (pytest.approx((2 / 3 + 0) / 2), (1 + 0) / 2)
    assert found["blank_recall"] == 0.5
    low, high = found["interval_95"]
    assert 0 <= low <= 0.5 <= high <= 1
    rows = _rows(order)
    assert found["nll"] == pytest.approx(-np.mean([float(rows[i, labels[i]]) for i in range(4)]))


def test_signs_of_one_origin_are_drawn_together() -> None:
    labels, rows = [1] * 40, _rows([[1]] * 20 + [[2]] * 20)
    alone = figures(rows, labels, [str(n) for n in range(40)])["interval_95"]
    together = figures(rows, labels, [str(n // 10) for n in range(40)])["interval_95"]
    assert together[1] - together[0] > alone[1] - alone[0] + 0.2


def test_nothing_to_measure() -> None:
    assert figures(torch.zeros(0, 3), [], []) == {"num_signs": 0, "num_blanks": 0}
    found = figures(_rows([[0, 1]]), [0], ["a"])
    assert (found["num_blanks"], found["blank_recall"]) == (1, 1.0)
    assert "top1" not in found


def _nll(log_probs: Tensor, labels: list[int], temperature: float) -> float:
    return float(-(log_probs / temperature).log_softmax(1).gather(1, torch.tensor(labels)[:, None]).mean())


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_the_temperature_makes_held_out_signs_likelier(planted: float) -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(4000, 6, generator=generator) * 1.5
    labels = torch.multinomial(true.softmax(1), 1, generator=generator)[:, 0].tolist()
    given = (true * planted).log_softmax(1)
    found = fit_temperature(given, labels)
    assert found == pytest.approx(planted, rel=0.1)
    assert _nll(given, labels, found) <= _nll(given, labels, 1.0) + 1e-9


def test_a_handful_of_signs_named_right_is_no_certainty() -> None:
    right = _rows([[1, 2, 3]] * 5)
    found = fit_temperature(right, [1] * 5)
    assert 0.2 < found < 1
    assert _nll(right, [1] * 5, found) < _nll(right, [1] * 5, 1.0)
    assert fit_temperature(_rows([[1, 2, 3]] * 2000), [1] * 2000) < found, "many of them are"
    assert fit_temperature(torch.zeros(0, 3), []) == 1.0
