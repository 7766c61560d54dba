"""Copied and composed rows against sums written out, alignments as labels of steps, the closed form and its twin."""

import math
from collections import Counter

import pytest
import torch

from asr.transfer.alignments import spikes, spread_evenly
from asr.transfer.rows import Composition, transfer_rows
from asr.transfer.statistics import ClassStatistics

OLD = ("<blank>", "a", "b", "c", "|")
NEW = ("<blank>", "|", "b", "ab", "\u2581cab", "xa", "c")


def old_layer() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=generator), torch.tensor([2.0, -1.0, -2.0, -3.0, -0.5])


def test_shared_tokens_keep_their_rows_bit_for_bit() -> None:
    weight, bias = old_layer()
    rows = transfer_rows(weight, bias, OLD, NEW)
    for new, old in ((0, 0), (1, 4), (2, 2), (6, 3)):
        assert torch.equal(rows.weight[new], weight[old])
        assert rows.bias[new] == bias[old]
    assert rows.copied == ("<blank>", "|", "b", "c")
    assert rows.composed == ("ab", "\u2581cab")
    assert rows.random == ("xa",)


def test_composed_rows_are_weighted_sums_with_most_on_the_last_part() -> None:
    weight, bias = old_layer()
    old_counts, new_counts = Counter({"a": 40, "b": 10, "c": 5}), Counter({"ab": 4, "\u2581cab": 1})
    composition = Composition(last_weight=0.6, counts=(old_counts, new_counts))
    rows = transfer_rows(weight, bias, OLD, NEW, composition=composition)
    torch.testing.assert_close(rows.weight[3], 0.4 * weight[1] + 0.6 * weight[2])
    rarity = math.log(4) - (0.4 * math.log(40) + 0.6 * math.log(10))
    assert float(rows.bias[3]) == pytest.approx(0.4 * -1.0 + 0.6 * -2.0 + rarity, abs=1e-5)
    torch.testing.assert_close(rows.weight[4], 0.2 * weight[3] + 0.2 * weight[1] + 0.6 * weight[2])
    rarity = math.log(1) - (0.2 * math.log(5) + 0.2 * math.log(40) + 0.6 * math.log(10))
    assert float(rows.bias[4]) == pytest.approx(0.2 * -3 + 0.2 * -1 + 0.6 * -2 + rarity, abs=1e-5)


def test_a_frequent_piece_gets_no_raise() -> None:
    weight, bias = old_layer()
    composition = Composition(counts=(Counter({"a": 1, "b": 1}), Counter({"ab": 50})))
    assert float(transfer_rows(weight, bias, OLD, NEW, composition=composition).bias[3]) == pytest.approx(
        0.3 * -1 + 0.7 * -2, abs=1e-5
    )


def test_a_letter_of_another_script_stands_for_an_old_one() -> None:
    weight, bias = old_layer()
    new = ("<blank>", "ب", "ا")
    rows = transfer_rows(weight, bias, OLD, new, composition=Composition(spelling={"ب": ["b"], "ا": ["a"]}))
    assert torch.equal(rows.weight[1:], weight[[2, 1]])
    assert rows.composed == ("ب", "ا")


def test_rows_of_nothing_are_small_unlikely_and_seeded() -> None:
    weight, bias = old_layer()
    layers = [
        transfer_rows(weight, bias, OLD, NEW, generator=torch.Generator().manual_seed(seed)).weight[5]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[0], layers[2])
    assert float(layers[0].abs().max()) < float(weight.std())
    assert float(transfer_rows(weight, bias, OLD, NEW).bias[5]) == -3.0


def test_layers_and_tokens_must_fit() -> None:
    weight, bias = old_layer()
    with pytest.raises(ValueError, match="4 old tokens, but 5 rows"):
        transfer_rows(weight, bias, OLD[:4], NEW)
    with pytest.raises(ValueError, match="token 0 is the blank in both"):
        transfer_rows(weight, bias, OLD, NEW[1:])


# ---- alignments ----


def test_labels_are_spread_evenly_between_blank_edges() -> None:
    assert spread_evenly(10, [5, 6]).tolist() == [0, 5, 5, 5, 5, 6, 6, 6, 6, 0]
    assert spread_evenly(3, [5]).tolist() == [0, 5, 0]
    assert spread_evenly(2, [5, 6]).tolist() == [5, 6]  # no room for edges
    assert spread_evenly(4, []).tolist() == [0, 0, 0, 0]


def test_spikes_reach_around_their_peaks_but_not_into_each_other() -> None:
    assert spikes([1, 2], [2, 6], 9).tolist() == [0, 1, 1, 1, 0, 2, 2, 2, 0]
    assert spikes([1, 2], [2, 3], 6).tolist() == [0, 1, 1, 2, 2, 0]
    assert spikes([1, 1], [1, 3], 6).tolist() == [1, 1, 0, 1, 1, 0]  # a repeated token needs its blank
    assert spikes([1], [0], 1).tolist() == [1]
    assert spikes([3], [4], 5, reach=2).tolist() == [0, 0, 3, 3, 3]
    assert spikes([], [], 2).tolist() == [0, 0]


# ---- closed form ----


def made_up_states() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.eye(6) + 0.2 * torch.randn(6, 6, generator=generator)
    means = 2 * torch.randn(4, 6, generator=generator)
    labels = torch.multinomial(torch.tensor([0.6, 0.2, 0.15, 0.05]), 3000, replacement=True, generator=generator)
    return means[labels] + torch.randn(3000, 6, generator=generator) @ mixing, labels


def test_the_layer_is_the_posterior_of_normal_classes_written_out() -> None:
    states, labels = made_up_states()
    statistics = ClassStatistics(5, 6)  # class 4 never occurs
    statistics.add(states, labels)
    weight, bias = statistics.solve(shrinkage=0.0)
    within = torch.zeros(6, 6, dtype=torch.float64)
    means = [states[labels == k].double().mean(0) for k in range(4)]
    for state, label in zip(states.double(), labels.tolist(), strict=True):
        within += torch.outer(state - means[label], state - means[label])
    within /= len(states)
    scores = [
        torch.distributions.MultivariateNormal(mean, within).log_prob(states[:50].double())
        + math.log(int((labels == k).sum()) / len(states))
        for k, mean in enumerate(means)
    ]
    expected = torch.stack(scores, 1).log_softmax(1)
    found = (states[:50] @ weight.T + bias)[:, :4].double().log_softmax(1)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
    assert float(bias[4]) == -30.0
    accuracy = ((states @ weight.T + bias).argmax(1) == labels).float().mean()
    assert float(accuracy) > 0.9


def test_statistics_of_parts_add_up() -> None:
    states, labels = made_up_states()
    once, twice = ClassStatistics(4, 6), ClassStatistics(4, 6)
    once.add(states, labels)
    for part in torch.arange(3000).split(700):
        twice.add(states[part], labels[part])
    for found, expected in zip(twice.solve(), once.solve(), strict=True):
        torch.testing.assert_close(found, expected)


def test_fewer_states_than_channels_are_shrunk_to_something_usable() -> None:
    states, labels = made_up_states()
    statistics = ClassStatistics(4, 6)
    statistics.add(states[:4], labels[:4])
    weight, bias = statistics.solve(shrinkage=0.1)
    assert bool(weight.isfinite().all())
    assert bool(bias.isfinite().all())
    with pytest.raises(ValueError, match="no states were added"):
        ClassStatistics(4, 6).solve()
