"""Two-stream S3D: padding, connections between streams, self-distillation, missing streams, three-stage training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.video import s3d

from signwave import bundle
from signwave.errors import ArtefactError
from slr.models.s3d import S3dConfig
from slr.models.s3d_layers import Stage
from slr.models.two_stream import Lateral, TwoStream, TwoStreamConfig
from slr.training.batch import SignBatch
from slr.training.losses import objective

SHARED: dict[str, Any] = {
    "width": 1 / 16,
    "head_dim": 16,
    "feedforward_dim": 24,
    "heatmap_height_px": 16,
    "heatmap_width_px": 17,
    "sigma_px": 1.5,
    "num_keypoints": 7,
    "norm_momentum": 1.0,
}
TINY: dict[str, Any] = {**SHARED, "lateral_init": "kaiming"}
LENGTHS = [1, 6, 13, 18]
LEVELS = {"rgb", "pose", "fused", "rgb_c2", "rgb_c3", "pose_c2", "pose_c3"}
NO_FRAMES = torch.zeros(4, 0, 3, 32, 33, dtype=torch.uint8)


def clips(lengths: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random frames (of an odd width), lengths, and keypoints, with rubbish past their ends."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    frames = torch.randint(0, 256, (*shape, 3, 32, 33), generator=generator, dtype=torch.uint8)
    points = torch.rand(*shape, 7, 3, generator=generator) * 2 - 1
    points[..., 2].abs_()
    for row, length in enumerate(lengths):
        points[row, length:] = torch.nan
    return frames, torch.tensor(lengths), points


def tiny(**changes: Any) -> TwoStream:
    torch.manual_seed(0)
    return TwoStreamConfig(**{**TINY, **changes}).build(vocab_size=6)


def settled(model: TwoStream) -> TwoStream:
    frames, num_frames, points = clips([17, 20], seed=5)
    model.train()(frames, num_frames, points=points)
    return model.eval()


def labelled(frames: Tensor, num_frames: Tensor, points: Tensor) -> SignBatch:
    size = len(frames)
    return SignBatch(
        ids=tuple(map(str, range(size))),
        inputs=frames,
        num_frames=num_frames,
        labels=torch.tensor([[1, 4]] * size),
        num_labels=torch.full((size,), 2),
        frame_labels=torch.full(frames.shape[:2], -1),
        points=points,
    )


@pytest.mark.parametrize("num_blocks", [3, 4])
def test_a_clip_alone_is_the_clip_in_a_padded_batch(num_blocks: int) -> None:
    model = settled(tiny(num_blocks=num_blocks))
    frames, num_frames, points = clips(LENGTHS)
    with torch.no_grad():
        together = model.heads(frames, num_frames, points=points)
        assert together.main.num_steps.tolist() == [-(-length // model.stride) for length in LENGTHS]
        for row, length in enumerate(LENGTHS):
            one = slice(row, row + 1)
            alone = model.heads(frames[one, :length], num_frames[one], points=points[one, :length])
            for name in ("main", *together.others):
                padded, single = together.named(name), alone.named(name)
                steps = single.log_probs.shape[1]
                assert padded.num_steps[row] == single.num_steps[0] == steps
                torch.testing.assert_close(padded.log_probs[row, :steps], single.log_probs[0], atol=1e-5, rtol=1e-5)
    first, second = together.main.log_probs[-1, :2].exp()
    assert (first - second).abs().max() > 0.01


def test_the_main_output_is_the_mean_of_three_posteriors() -> None:
    frames, num_frames, points = clips([12, 9])
    heads = settled(tiny()).heads(frames, num_frames, points=points)
    assert set(heads.others) == LEVELS
    mean = sum(heads.others[name].log_probs.double().exp() for name in ("rgb", "pose", "fused")) / 3
    torch.testing.assert_close(heads.main.log_probs.double().exp(), mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(heads.main.log_probs.exp().sum(-1), torch.ones(2, 3))


def test_recognition_does_not_run_the_pyramids() -> None:
    model = settled(tiny())
    frames, num_frames, points = clips([12, 9])
    with torch.no_grad():
        heads = model.heads(frames, num_frames, points=points)
        for stream in (model.rgb, model.pose):
            assert stream.pyramid is not None
            stream.pyramid = _Refuses()
        torch.testing.assert_close(model(frames, num_frames, points=points).log_probs, heads.main.log_probs)
        torch.testing.assert_close(model(frames, num_frames).log_probs, model.rgb(frames, num_frames).log_probs)


class _Refuses(nn.Module):
    def forward(self, stages: Any) -> Any:
        raise AssertionError("a pyramid ran")


def test_an_impossible_token_stays_finite_in_the_mean() -> None:
    model = settled(tiny())
    with torch.no_grad():
        for head in (model.rgb.head, model.pose.head, model.fused):
            head.output.bias[2] = -1e4
    frames, num_frames, points = clips([12])
    assert torch.isfinite(model(frames, num_frames, points=points).log_probs).all()


def test_gradients_reach_every_parameter_and_no_padding() -> None:
    model = tiny().train()
    batch = labelled(*clips([19, 24]))
    found = objective(model.heads(batch.inputs, batch.num_frames, points=batch.points), batch, model.losses())
    assert set(found.parts) == {f"ctc_{name}" for name in LEVELS} | {
        "main_teaches_rgb",
        "main_teaches_pose",
        "main_teaches_fused",
    }
    found.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_losses_are_the_papers() -> None:
    losses = tiny().losses()
    pyramids = {"rgb_c2": 0.2, "rgb_c3": 0.2, "pose_c2": 0.5, "pose_c3": 0.5}
    assert losses.ctc == {"rgb": 1.0, "pose": 1.0, "fused": 1.0, **pyramids}
    assert {(term.teacher, term.student, term.weight) for term in losses.distillations} == {
        ("main", name, 1.0) for name in ("rgb", "pose", "fused")
    }
    assert {term.reduction for term in losses.distillations} == {"batch"}
    per_step = tiny(distillation_reduction="step", with_pyramid=False).losses()
    assert set(per_step.ctc) == {"rgb", "pose", "fused"}
    assert {term.reduction for term in per_step.distillations} == {"step"}


def test_the_teacher_gets_no_gradient() -> None:
    model = tiny(with_pyramid=False, dropout=0.0).train()
    batch = labelled(*clips([19, 24]))
    heads = model.heads(batch.inputs, batch.num_frames, points=batch.points)
    losses = dataclasses.replace(model.losses(), ctc={})
    given = objective(heads, batch, losses).total
    mean = heads.main.log_probs.detach()
    inside = torch.arange(6)[None, :] < heads.main.num_steps[:, None]
    wanted = sum(
        (
            functional.kl_div(heads.others[name].log_probs, mean, reduction="none", log_target=True).sum(-1) * inside
        ).sum()
        / 2
        for name in ("rgb", "pose", "fused")
    )
    torch.testing.assert_close(given, wanted)
    weight = model.rgb.head.output.weight
    first, second = (torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (given, wanted))
    torch.testing.assert_close(first, second)


def test_bf16_agrees_with_float32() -> None:
    model = settled(tiny())
    frames, num_frames, points = clips(LENGTHS)
    with torch.no_grad():
        full = model.heads(frames, num_frames, points=points)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model.heads(frames, num_frames, points=points)
    for name in ("main", *full.others):
        assert half.named(name).log_probs.dtype == torch.float32
        for row, steps in enumerate(full.named(name).num_steps.tolist()):
            wanted, given = full.named(name).log_probs[row, :steps].exp(), half.named(name).log_probs[row, :steps].exp()
            # Norms of a model this small magnify rounding: single entries may move, their mean may not.
            torch.testing.assert_close(given, wanted, atol=0.2, rtol=0.1)
            assert (given - wanted).abs().mean() < 0.04


def test_a_bundles_plain_values_build_it_again(tmp_path: Path) -> None:
    config = TwoStreamConfig(**TINY)
    model = settled(config.build(vocab_size=6))
    bundle.save(tmp_path / "b", kind="slr.two_stream", model=model, config=dataclasses.asdict(config))
    loaded = bundle.load(tmp_path / "b")
    again = TwoStream(vocab_size=6, **loaded.config).eval()
    again.load_state_dict(loaded.state_dict())
    frames, num_frames, points = clips([9])
    wanted, given = (m(frames, num_frames, points=points).log_probs for m in (model, again))
    torch.testing.assert_close(given, wanted)


def test_without_one_stream_the_other_answers() -> None:
    model = settled(tiny())
    frames, num_frames, points = clips(LENGTHS)
    with torch.no_grad():
        seen = model.heads(frames, num_frames)
        drawn = model.heads(NO_FRAMES, num_frames, points=points)
        torch.testing.assert_close(seen.main.log_probs, model.rgb(frames, num_frames).log_probs)
        for row, steps in enumerate(drawn.main.num_steps.tolist()):
            wanted = model.pose(points, num_frames).log_probs[row, :steps]
            torch.testing.assert_close(drawn.main.log_probs[row, :steps], wanted)
    assert set(seen.others) == {"rgb", "rgb_c2", "rgb_c3"}
    assert set(drawn.others) == {"pose", "pose_c2", "pose_c3"}
    with pytest.raises(ValueError, match="neither frames nor keypoints"):
        model(NO_FRAMES, num_frames)


@pytest.mark.parametrize("name", ["rgb", "pose"])
def test_a_stream_starts_from_a_single_stream_model(name: str) -> None:
    single = S3dConfig(stream="frames" if name == "rgb" else "keypoints", **SHARED).build(vocab_size=6)
    frames, num_frames, points = clips([17, 20], seed=5)
    inputs = frames if name == "rgb" else points
    single.train()(inputs, num_frames)
    single.eval()
    joint = settled(tiny(lateral_init="zero"))
    joint.load_stream(single.state_dict(), name)  # type: ignore[arg-type]
    with torch.no_grad():
        heads = joint.heads(frames, num_frames, points=points)
        given, wanted = heads.others[name].log_probs, single(inputs, num_frames).log_probs
    # Connections begin at zero, so the stream answers as it did alone.
    for row, steps in enumerate(heads.main.num_steps.tolist()):
        torch.testing.assert_close(given[row, :steps], wanted[row, :steps], atol=1e-5, rtol=1e-5)


def test_a_stream_that_does_not_fit_is_refused() -> None:
    joint = tiny()
    wider = S3dConfig(**{**SHARED, "head_dim": 32}).build(vocab_size=6).state_dict()
    with pytest.raises(ArtefactError, match=r"weights for the stream 'rgb': .*of another shape: head\.after\.bias"):
        joint.load_stream(wider, "rgb")
    single = S3dConfig(**SHARED).build(vocab_size=6).state_dict()
    del single["head.output.bias"]
    with pytest.raises(ArtefactError, match=r"missing: head.output.bias\); train the single stream with the same voc"):
        joint.load_stream(single, "rgb")


def test_both_trunks_start_from_one_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = s3d().state_dict()
    torch.save(state, tmp_path / "s3d.pth")
    model = TwoStreamConfig(num_blocks=3, lateral_init="zero", head_dim=8, feedforward_dim=8).build(vocab_size=6)
    model.load_backbone(tmp_path / "s3d.pth")
    for trunk in (model.rgb.trunk, model.pose.trunk):
        torch.testing.assert_close(
            trunk.state_dict()["features.6.branch3.1.0.weight"], state["features.6.branch3.1.0.weight"]
        )
    torch.testing.assert_close(model.rgb.trunk.state_dict()["features.0.0.0.weight"], state["features.0.0.0.weight"])


def test_each_stream_freezes_its_own_blocks() -> None:
    model = tiny(freeze_rgb_blocks=1).train()
    batch = labelled(*clips([19, 24]))
    heads = model.heads(batch.inputs, batch.num_frames, points=batch.points)
    objective(heads, batch, model.losses()).total.backward()
    assert all(parameter.grad is None for parameter in model.rgb.trunk.features[0].parameters())
    assert all(parameter.grad is not None for parameter in model.pose.parameters())
    assert model.laterals[0].to_rgb.weight.grad.abs().sum() > 0


def test_connections_carry_each_stream_into_the_other() -> None:
    torch.manual_seed(0)
    lateral = Lateral(3, start="kaiming")
    rgb, pose = torch.randn(1, 3, 5, 9, 8), torch.randn(1, 3, 5, 5, 4)
    steps = torch.tensor([4])
    new_rgb, new_pose = lateral(Stage(rgb, steps), Stage(pose, steps))
    assert new_rgb.values.shape == rgb.shape
    assert new_pose.values.shape == pose.shape
    assert (new_rgb.values - rgb).abs().max() > 0
    assert (new_pose.values - pose).abs().max() > 0
    rgb[:, :, 4:], pose[:, :, 4:] = torch.nan, torch.nan
    again_rgb, again_pose = lateral(Stage(rgb, steps), Stage(pose, steps))
    torch.testing.assert_close(again_rgb.values[:, :, :4], new_rgb.values[:, :, :4])
    torch.testing.assert_close(again_pose.values[:, :, :4], new_pose.values[:, :, :4])


def test_a_step_sees_its_radius_and_no_frame_more() -> None:
    model = settled(tiny(with_pyramid=False, with_positions=False, num_blocks=3))
    radius = model.receptive_radius_frames
    assert radius == 9 + 2 * 2 + 2 * 3 * 2
    middle = -(-radius // 2)
    frames, num_frames, points = clips([2 * middle + radius + 4])
    changed = frames.float().requires_grad_()
    model(changed, num_frames, points=points).log_probs[0, middle, 1].backward()
    seen = changed.grad.abs().sum((0, 2, 3, 4)).nonzero()[:, 0]  # type: ignore[union-attr]
    assert radius >= 2 * middle - int(seen.min()) > radius - 6
    assert radius >= int(seen.max()) - 2 * middle > radius - 6
    assert tiny().receptive_radius_frames is None


def test_frames_that_do_not_match_the_heat_maps_are_refused() -> None:
    frames, num_frames, points = clips([5])
    hint = r"32x33 px need .* got 112x112; set heatmap_height_px=16 and heatmap_width_px=17"
    with pytest.raises(ValueError, match=hint):
        tiny(heatmap_height_px=112, heatmap_width_px=112)(frames, num_frames, points=points)
    with pytest.raises(ValueError, match="lateral_init must be 'zero' or 'kaiming', got 'one'"):
        tiny(lateral_init="one")
