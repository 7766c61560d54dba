"""Losses of bags and their targets, against loops and sums by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from signwave.errors import UserError
from slr.isolated.bags import mean_of_bags
from slr.isolated.losses import BagLossConfig, bag_losses, read_vectors, soft_targets

B, K, V = 3, 4, 5


def _log_probs(seed: int) -> Tensor:
    return torch.randn(B * K, V, generator=torch.Generator().manual_seed(seed)).log_softmax(1)


def _cross_entropy(log_probs: Tensor, target: Tensor) -> float:
    return -sum(float(target[c]) * float(log_probs[c]) for c in range(V))


def test_losses_are_those_of_plain_loops() -> None:
    streams = {"rgb": _log_probs(0), "pose": _log_probs(1)}
    inside = {"rgb": _log_probs(2), "pose": _log_probs(3)}
    labels = [2, 0, 4]
    targets = soft_targets([str(c) for c in range(V)], smoothing=0.2)[labels]
    is_sign = torch.tensor([True, False, True])
    config = BagLossConfig(instance=0.5, bag=2.0, foreground=3.0)
    found = bag_losses(streams, inside, targets, is_sign, config)
    instance = bag = foreground = 0.0
    for name, log_probs in streams.items():
        for b in range(B):
            windows = [log_probs[b * K + k] for k in range(K)]
            instance += sum(_cross_entropy(one, targets[b]) for one in windows) / (B * K)
            mean = torch.stack([one.exp() for one in windows]).mean(0).log()
            bag += _cross_entropy(mean, targets[b]) / B
            if is_sign[b]:
                foreground += sum(_cross_entropy(inside[name][b * K + k], targets[b]) for k in range(K)) / (K * 2)
    expected = {"instance": instance / 2, "bag": bag / 2, "foreground": foreground / 2}
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-5), name
    total = 0.5 * expected["instance"] + 2 * expected["bag"] + 3 * expected["foreground"]
    assert float(found["total"]) == pytest.approx(total, rel=1e-5)


def test_a_batch_of_blanks_has_no_foreground() -> None:
    targets = soft_targets([str(c) for c in range(V)], smoothing=0.0)[[0] * B]
    log_probs = {"main": _log_probs(0)}
    found = bag_losses(log_probs, log_probs, targets, torch.zeros(B, dtype=torch.bool), BagLossConfig())
    assert float(found["foreground"]) == 0
    without = bag_losses(log_probs, None, targets, torch.ones(B, dtype=torch.bool), BagLossConfig())
    assert float(without["foreground"]) == 0
    assert float(without["total"]) == pytest.approx(float(found["total"]))


def test_the_mean_of_a_bag_keeps_the_order_of_tiny_probabilities() -> None:
    log_probs = torch.tensor([[0.0, -60.0, -70.0], [-1e-3, -62.0, -90.0]])
    found = mean_of_bags(log_probs, 1)
    expected = log_probs.double().exp().mean(0).log()
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-5, atol=1e-5)
    assert found[0, 1] > found[0, 2]


def test_even_smoothing() -> None:
    found = soft_targets(["<blank>", "A", "B", "C"], smoothing=0.2)
    torch.testing.assert_close(found.sum(1), torch.ones(4))
    torch.testing.assert_close(found, 0.8 * torch.eye(4) + 0.05)
    torch.testing.assert_close(soft_targets(["<blank>", "A"], smoothing=0.0), torch.eye(2))


def test_smoothing_by_word_vectors() -> None:
    """A word's smoothing goes to the other words that have vectors, by exp(cosine / temperature)."""
    vectors = {"rain": [1.0, 0.0], "SNOW": [2.0, 2.0], "sun": [0.0, -3.0]}
    glosses = ["<blank>", "RAIN", "SNOW", "X-UNKNOWN", "SUN"]
    found = soft_targets(glosses, smoothing=0.2, vectors=vectors, temperature=0.5)
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    root = math.sqrt(0.5)
    cosines = {(1, 2): root, (1, 4): 0.0, (2, 4): -root}
    for row in (1, 2, 4):
        others = [column for column in (1, 2, 4) if column != row]
        powers = [math.exp(cosines[min(row, c), max(row, c)] / 0.5) for c in others]
        expected = [0.0] * 5
        expected[row] = 0.8
        for column, power in zip(others, powers, strict=True):
            expected[column] = 0.2 * power / sum(powers)
        assert found[row].tolist() == pytest.approx(expected), glosses[row]
    for row in (0, 3):
        assert found[row].tolist() == pytest.approx([0.84 if column == row else 0.04 for column in range(5)])


def test_a_single_word_with_a_vector_stays_even() -> None:
    found = soft_targets(["<blank>", "A", "B"], smoothing=0.3, vectors={"A": [1.0]})
    torch.testing.assert_close(found, soft_targets(["<blank>", "A", "B"], smoothing=0.3))


def test_word_vectors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "words.vec"
    path.write_text("2 3\nRegen 1 2 3\nschön 0.5 -1 0 \n", encoding="utf-8")
    assert read_vectors(path) == {"Regen": [1, 2, 3], "schön": [0.5, -1, 0]}
    path.write_text("Regen 1 2 3\nkurz 1 2\n")
    with pytest.raises(UserError, match=r"words\.vec:2: has 2 values, the first line has 3"):
        read_vectors(path)
    path.write_text("Regen 1 zwei 3\n")
    with pytest.raises(UserError, match="can't be read as word vectors"):
        read_vectors(path)
    path.write_text("")
    with pytest.raises(UserError, match="holds no word vector"):
        read_vectors(path)
    with pytest.raises(UserError, match=r"none\.vec: can't be read"):
        read_vectors(tmp_path / "none.vec")
