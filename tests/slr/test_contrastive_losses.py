"""Losses of several captions and languages per clip."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from slr.retrieval.batch import positives
from slr.retrieval.language_gap import language_gap
from slr.retrieval.similarity import contrastive_loss


def test_floors_with_several_captions() -> None:
    positive = torch.arange(3)[:, None] == torch.arange(12)[None, :] // 4
    perfect = torch.where(positive, 200.0, -200.0)
    assert float(contrastive_loss(perfect, perfect, positive, normalisation="any_positive")) == pytest.approx(
        0, abs=1e-6
    )
    # Four captions share one soft-max; each text has one clip, so its side can be 0.
    shared = contrastive_loss(perfect, perfect, positive, normalisation="per_positive")
    assert float(shared) == pytest.approx(math.log(4) / 2, abs=1e-5)
    released = contrastive_loss(perfect, perfect, positive, normalisation="one_to_k")
    assert float(released) == pytest.approx(4 * math.log(4) / 2 / 4, abs=1e-5)


def test_the_default_is_one_to_k_with_its_text_side_at_full_weight() -> None:
    logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    positive = torch.arange(3)[:, None] == torch.arange(6)[None, :] // 2
    rows, columns = logits.log_softmax(1), logits.log_softmax(0)
    to_text = torch.stack([-(rows[i, 2 * i] + rows[i, 2 * i + 1]) for i in range(3)]).mean()
    to_clip = torch.stack([-columns[j // 2, j] for j in range(6)]).mean()
    assert float(contrastive_loss(logits, logits, positive)) == pytest.approx(
        float((to_text / 2 + to_clip) / 2), abs=1e-6
    )
    # A clip whose captions are elsewhere doesn't change how many captions a clip has.
    more = torch.cat([logits, logits[:1]])
    alone = torch.cat([positive, torch.zeros(1, 6).bool()])
    columns = more.log_softmax(0)
    to_clip = torch.stack([-columns[j // 2, j] for j in range(6)]).mean()
    released = contrastive_loss(more, more, alone, normalisation="one_to_k")
    assert float(released) == pytest.approx(float((to_text + to_clip) / 2 / 2), abs=1e-6)


def test_equal_captions_of_two_groups_are_positives_of_both() -> None:
    clip_groups, text_groups = torch.tensor([7, 8, 9, 7]), torch.tensor([7, 7, 8, 9])
    keys = torch.tensor([1, 2, 1, 3])
    found = positives(clip_groups, text_groups, keys)
    expected = [
        [
            any(int(own) == int(group) and int(key) == int(other) for own, key in zip(text_groups, keys, strict=True))
            for other in keys
        ]
        for group in clip_groups
    ]
    assert found.tolist() == expected
    assert found[0].tolist() == [True, True, True, False]
    assert found[1].tolist() == [True, False, True, False]


def slow_gap(logits: Tensor, groups: list[int], languages: list[int]) -> float:
    """With loops, for two languages."""
    shared = [
        g for g in dict.fromkeys(groups) if {0, 1} <= {w for o, w in zip(groups, languages, strict=True) if o == g}
    ]
    total = 0.0
    for row in logits.tolist():
        shares = []
        for language in (0, 1):
            means = []
            for group in shared:
                some = [v for v, o, w in zip(row, groups, languages, strict=True) if (o, w) == (group, language)]
                means.append(sum(some) / len(some))
            powers = [math.exp(value) for value in means]
            shares.append([power / sum(powers) for power in powers])
        total += sum(p * math.log(p / q) + q * math.log(q / p) for p, q in zip(*shares, strict=True)) / 2
    return total / len(logits)


def test_language_gap_is_the_formula_whatever_the_order() -> None:
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 2
    # Group 5 has no caption in language 1, group 4 two in language 0.
    groups, languages = [4, 4, 4, 5, 6, 6, 9, 9], [0, 1, 0, 0, 1, 0, 0, 1]
    found = language_gap(logits, torch.tensor(groups), torch.tensor(languages), 2)
    assert float(found) == pytest.approx(slow_gap(logits, groups, languages), abs=1e-5)
    order = torch.tensor([6, 0, 5, 7, 2, 3, 1, 4])
    again = language_gap(logits[:, order], torch.tensor(groups)[order], torch.tensor(languages)[order], 2)
    assert float(again) == pytest.approx(float(found), abs=1e-5)
    # Another number of languages that nobody speaks adds no pair.
    assert float(language_gap(logits, torch.tensor(groups), torch.tensor(languages), 4)) == pytest.approx(float(found))


def test_languages_that_agree_have_no_gap_and_learning_closes_one() -> None:
    groups, languages = torch.tensor([1, 1, 2, 2, 3, 3]), torch.tensor([0, 1, 0, 1, 0, 1])
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, dim=1)
    assert float(language_gap(logits, groups, languages, 2)) == pytest.approx(0, abs=1e-6)
    apart = (logits + torch.randn(4, 6, generator=torch.Generator().manual_seed(1))).requires_grad_()
    gap = language_gap(apart, groups, languages, 2)
    (gradient,) = torch.autograd.grad(gap, [apart])
    assert float(language_gap(apart.detach() - 0.5 * gradient, groups, languages, 2)) < float(gap.detach())


@pytest.mark.parametrize(("groups", "languages"), [([1, 2, 3], [0, 0, 0]), ([1, 1, 2], [0, 1, 0])])
def test_without_two_sentences_in_two_languages_the_gap_is_zero(groups: list[int], languages: list[int]) -> None:
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gap = language_gap(logits, torch.tensor(groups), torch.tensor(languages), 2)
    gap.backward()
    assert float(gap.detach()) == 0
    assert logits.grad is not None
    assert not bool(logits.grad.any())
