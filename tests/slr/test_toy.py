"""The toy data and model, templates of every dataset and model."""

import numpy as np
import pytest
import torch

from signwave.sampling import Draw
from slr.datasets.toy import ToyDataConfig, ToySigns
from slr.models.toy_gru import ToyGruConfig


def make(**options):
    return ToySigns(ToyDataConfig(**options), num_items=8, split=0)


def test_items_are_as_long_as_announced_and_depend_on_the_draw_alone():
    data = make()
    for index in range(len(data)):
        item = data[Draw(index, 5)]
        assert item.features.shape == (data.lengths[index], 16)
        assert np.array_equal(item.features, make()[Draw(index, 5)].features)
        assert not np.array_equal(item.features, data[Draw(index, 6)].features)


def test_batch_is_padded_with_zeros_and_feasible():
    data = make()
    batch = data.collate([data[Draw(i, 0)] for i in range(8)])
    batch.check()
    for i, num_frames in enumerate(batch.num_frames):
        assert not batch.inputs[i, num_frames:].any()
        assert not batch.labels[i, batch.num_labels[i] :].any()
    assert int(batch.labels.max()) < ToyDataConfig().vocabulary().size


def test_output_does_not_depend_on_padding():
    data = make()
    batch = data.collate([data[Draw(i, 0)] for i in range(8)])
    model = ToyGruConfig().build(feature_dim=16, vocab_size=11).eval()
    together = model(batch.inputs, batch.num_frames)
    for i, num_frames in enumerate(batch.num_frames.tolist()):
        alone = model(batch.inputs[i : i + 1, :num_frames], batch.num_frames[i : i + 1])
        torch.testing.assert_close(together.log_probs[i, :num_frames], alone.log_probs[0], atol=1e-6, rtol=1e-5)


def test_gradients_reach_every_parameter():
    model = ToyGruConfig(hidden_dim=4).build(feature_dim=2, vocab_size=3)
    encoded = model(torch.randn(2, 5, 2), torch.tensor([5, 3]))
    assert encoded.log_probs.shape == (2, 5, 3)
    encoded.log_probs[:, :3].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_bad_size_is_refused():
    with pytest.raises(ValueError, match=r"data\.num_glosses must be at least 1, got 0"):
        ToyDataConfig(num_glosses=0)
