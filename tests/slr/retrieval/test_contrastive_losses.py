"""Losses of several captions per clip."""

from __future__ import annotations

import math

import pytest
import torch

from slr.retrieval.learning.batch import positives
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
