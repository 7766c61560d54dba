"""The keypoint conformer: padding, missing points, gradients, bf16, how far it sees, and windows of a long clip."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from slr.models.interface import MAIN
from slr.models.keypoint_conformer import GROUPS, NUM_POINTS, KeypointConformer, KeypointConformerConfig


def small(**changes: object) -> KeypointConformer:
    torch.manual_seed(0)
    config = KeypointConformerConfig(**{"dim": 16, "group_dim": 8, "kernel_size": 3, "auxiliary_weight": 0.2} | changes)  # type: ignore[arg-type]
    return config.build(vocab_size=7).eval()


def batch(lengths: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(lengths), max(lengths), NUM_POINTS, 3, generator=generator)
    inputs[..., 2] = torch.rand(inputs.shape[:-1], generator=generator)
    inputs[inputs[..., 2] < 0.2] = 0  # not seen
    return inputs, torch.tensor(lengths)


def test_groups_are_all_points_once() -> None:
    assert [group.first for group in GROUPS] == [0, 21, 42, 53]
    assert sum(len(group.parents) for group in GROUPS) == NUM_POINTS
    for group in GROUPS:
        assert all(parent <= place for place, parent in enumerate(group.parents))


@pytest.mark.parametrize("changes", [{}, {"attention_radius_steps": 2}, {"num_halvings": 0}, {"num_blocks": 0}])
def test_a_clip_alone_is_the_clip_in_a_padded_batch(changes: dict[str, int]) -> None:
    model = small(**changes)
    lengths = [1, 5, 18, 31]
    inputs, num_frames = batch(lengths)
    for row, length in enumerate(lengths):
        inputs[row, length:] = float("nan")  # padding may hold anything
    together = model.heads(inputs, num_frames)
    assert together.main.num_steps.tolist() == [-(-length // model.stride) for length in lengths]
    for row, length in enumerate(lengths):
        alone = model.heads(inputs[row : row + 1, :length], num_frames[row : row + 1])
        steps = int(alone.main.num_steps[0])
        for name in (MAIN, *together.others):
            found, wanted = together.named(name).log_probs[row, :steps], alone.named(name).log_probs[0]
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found.exp().sum(-1), torch.ones(steps))


def test_what_unseen_points_hold_does_not_matter_but_that_they_are_unseen_does() -> None:
    model = small()
    inputs, num_frames = batch([12])
    wanted = model(inputs, num_frames).log_probs
    other = inputs.clone()
    other[..., :2] = torch.where(inputs[..., 2:] > 0, inputs[..., :2], 99.0)
    torch.testing.assert_close(model(other, num_frames).log_probs, wanted)
    hidden = inputs.clone()
    hidden[:, :, :21] = 0  # a hand is never seen
    assert (model(hidden, num_frames).log_probs - wanted).abs().max() > 1e-3
    assert torch.isfinite(model(torch.zeros_like(inputs), num_frames).log_probs).all()


def test_a_group_is_read_about_its_own_root() -> None:
    """Moving the left hand changes its place, which its encoder sees, but not the features of its shape."""
    features = small().groups[0]
    inputs, _ = batch([6])
    inputs[..., 2] = 1
    moved = inputs.clone()
    moved[:, :, :21, 0] += 0.7
    captured: list[Tensor] = []
    features.encode.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    features(inputs)
    features(moved)
    root_x = 8 * 21
    torch.testing.assert_close(captured[0][..., :root_x], captured[1][..., :root_x], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(captured[1][..., root_x] - captured[0][..., root_x], torch.full((1, 6), 0.7))


def test_gradients_reach_every_parameter() -> None:
    model = small().train()
    heads = model.heads(*batch([20, 33]))
    losses = model.losses()
    assert set(losses.ctc) == {MAIN, *heads.others} == {MAIN, "left_hand", "right_hand", "body", "mouth"}
    assert [(d.teacher, d.student) for d in losses.distillations] == [(MAIN, name) for name in heads.others]
    sum(heads.named(name).log_probs[..., 1].sum() for name in losses.ctc).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_without_auxiliary_weight_there_is_one_head() -> None:
    model = small(auxiliary_weight=0.0)
    assert model.heads(*batch([9])).others == {}
    assert model.losses().ctc == {MAIN: 1.0}
    assert model.losses().distillations == ()


def test_hidden_groups_differ_between_clips_in_training_only() -> None:
    model = small(dropout=0.0, group_dropout=0.5)
    inputs, _ = batch([12])
    inputs, num_frames = inputs.expand(16, -1, -1, -1), torch.full((16,), 12)
    assert model(inputs, num_frames).log_probs.std(0).max() < 1e-5
    assert model.train()(inputs, num_frames).log_probs.std(0).max() > 1e-2


def test_bf16_gives_float32_near_the_same() -> None:
    model = small()
    inputs, num_frames = batch([20, 33])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = model(inputs, num_frames)
    assert encoded.log_probs.dtype == torch.float32
    torch.testing.assert_close(encoded.log_probs.exp(), model(inputs, num_frames).log_probs.exp(), atol=0.05, rtol=0.1)


def test_state_dict_and_config_round_trip() -> None:
    config = KeypointConformerConfig(dim=16, group_dim=8, attention_radius_steps=3)
    first = config.build(vocab_size=5).eval()
    second = KeypointConformer(vocab_size=5, **asdict(config)).eval()
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(*batch([11])).log_probs, second(*batch([11])).log_probs)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_radius_steps": 2},
        {"attention_radius_steps": 1, "num_blocks": 1, "num_halvings": 1, "kernel_size": 5},
        {"num_blocks": 0},
    ],
)
def test_a_step_sees_exactly_as_far_as_it_says(changes: dict[str, int]) -> None:
    model = small(**changes)
    radius = model.receptive_radius_frames
    assert radius is not None
    inputs, num_frames = batch([40 + 2 * radius])
    inputs[..., 2] = 1
    inputs.requires_grad_()
    step = -(-(radius + 4) // model.stride)
    (gradient,) = torch.autograd.grad(model(inputs, num_frames).log_probs[0, step].square().sum(), inputs)
    seen = gradient[0].abs().sum((1, 2)).nonzero().flatten() - step * model.stride
    assert seen.min() == -radius
    assert seen.max() == radius


def test_without_a_limit_the_whole_clip_is_seen() -> None:
    assert small().receptive_radius_frames is None


def test_windows_with_a_margin_give_the_whole_clips_posteriors() -> None:
    model = small(attention_radius_steps=3)
    assert model.receptive_radius_frames is not None
    inputs, num_frames = batch([403])
    whole = model(inputs, num_frames).log_probs[0]
    margin = -(-model.receptive_radius_frames // model.stride)  # steps
    parts = []
    for first in range(0, len(whole), 10):
        begin, stop = max(0, first - margin), min(len(whole), first + 10 + margin)
        window = inputs[:, begin * model.stride : stop * model.stride]
        found = model(window, torch.tensor([window.shape[1]])).log_probs[0]
        parts.append(found[first - begin : first - begin + 10])
    chunked = torch.cat([*parts[:-1], parts[-1][: len(whole) - 10 * (len(parts) - 1)]])
    torch.testing.assert_close(chunked.exp(), whole.exp(), atol=1e-4, rtol=0)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"num_halvings must be at least 0, .* got -1, 128, 48, 4 and 2"):
        KeypointConformerConfig(num_halvings=-1)
    with pytest.raises(ValueError, match=r"dropout and group_dropout must be in \[0, 1\), got 0.1 and 1.0"):
        KeypointConformerConfig(group_dropout=1.0)
    with pytest.raises(ValueError, match="auxiliary_weight and distillation_weight must be at least 0"):
        KeypointConformerConfig(auxiliary_weight=-0.1)
    with pytest.raises(ValueError, match=r"multiple of 2 \* num_heads and kernel_size odd; got dim 20, num_heads 4"):
        KeypointConformerConfig(dim=20).build(vocab_size=3)
    with pytest.raises(ValueError, match="attention_radius_steps must be at least 0 or None, got -1"):
        KeypointConformerConfig(attention_radius_steps=-1).build(vocab_size=3)


def test_a_pass_asks_the_device_for_nothing() -> None:
    """On the meta device any look at a value is an error; on a GPU it would wait for it."""
    model = small(attention_radius_steps=3).train().to("meta")
    inputs, num_frames = (tensor.to("meta") for tensor in batch([20, 33]))
    heads = model.heads(inputs, num_frames)
    assert heads.main.log_probs.shape == heads.others["body"].log_probs.shape == (2, 9, 7)


def test_it_is_one_graph() -> None:
    model = small()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    inputs, num_frames = batch([20, 33])
    torch.testing.assert_close(compiled(inputs, num_frames).log_probs, model(inputs, num_frames).log_probs)
