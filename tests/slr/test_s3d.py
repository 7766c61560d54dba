"""S3D: torchvision's own numbers, padding, lengths, weights files, frozen blocks, checkpointing, channels last."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video import s3d as torchvision_s3d

from signwave.errors import ArtefactError
from slr.models.masking import MaskedBatchNorm, mask_time
from slr.models.s3d import S3d, S3dConfig
from slr.models.s3d_trunk import S3dTrunk, load_kinetics
from slr.training.batch import SignBatch
from slr.training.losses import objective

TINY: dict[str, Any] = {
    "width": 1 / 16,
    "head_dim": 16,
    "feedforward_dim": 24,
    "heatmap_height_px": 32,
    "heatmap_width_px": 32,
    "sigma_px": 2.0,
    "num_keypoints": 7,
    "with_pyramid": True,
    "norm_momentum": 1.0,
}
LENGTHS = [1, 6, 13, 18]


def clips(stream: str, lengths: list[int], *, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random clips with rubbish past their ends."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    if stream == "frames":
        inputs = torch.randint(0, 256, (*shape, 3, size, size), generator=generator, dtype=torch.uint8)
    else:
        inputs = torch.rand(*shape, 7, 3, generator=generator) * 2 - 1
        inputs[..., 2].abs_()
        for row, length in enumerate(lengths):
            inputs[row, length:] = torch.nan
    return inputs, torch.tensor(lengths)


def settled(model: S3d) -> S3d:
    """The model in evaluation with the statistics of a batch: with those of a fresh one its outputs hardly differ."""
    model.train()(*clips(str(model.reads), [17, 20], seed=5))
    return model.eval()


def tiny(stream: str = "frames", **changes: Any) -> S3d:
    torch.manual_seed(0)
    return S3dConfig(stream=stream, **{**TINY, **changes}).build(vocab_size=6)  # type: ignore[arg-type]


def labelled(inputs: Tensor, num_frames: Tensor) -> SignBatch:
    size = len(inputs)
    return SignBatch(
        ids=tuple(map(str, range(size))),
        inputs=inputs,
        num_frames=num_frames,
        labels=torch.tensor([[1, 4]] * size),
        num_labels=torch.full((size,), 2),
        frame_labels=torch.full(inputs.shape[:2], -1),
    )


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's S3D with random weights and random statistics."""
    torch.manual_seed(1)
    model = torchvision_s3d().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 1.0)
    return model


@pytest.fixture(scope="module")
def weights(reference: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "s3d-random.pth"
    torch.save(reference.state_dict(), path)
    return path


@pytest.mark.parametrize(("num_blocks", "num_layers"), [(1, 1), (2, 4), (3, 7), (4, 13), (5, 16)])
def test_unpadded_it_is_torchvisions_s3d(reference: Any, weights: Path, num_blocks: int, num_layers: int) -> None:
    trunk = S3dTrunk(num_blocks=num_blocks).eval()
    load_kinetics(trunk, weights)
    values = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        ours = trunk(values, torch.tensor([8]))
        wanted = reference.features[:num_layers](values)
    torch.testing.assert_close(ours[-1].values, wanted, atol=1e-5, rtol=1e-5)
    assert wanted.abs().max() > 0.01
    assert [stage.values.shape[1] for stage in ours] == list(trunk.block_channels)
    assert ours[-1].num_steps.tolist() == [wanted.shape[2]]
    assert trunk.block_strides[-1] == 8 // wanted.shape[2]


def test_a_trunk_of_heat_maps_takes_all_but_the_first_convolution(reference: nn.Module, weights: Path) -> None:
    trunk = S3dTrunk(in_channels=63, num_blocks=4)
    before = trunk.state_dict()["features.0.0.0.weight"].clone()
    load_kinetics(trunk, weights)
    given = reference.state_dict()
    for name, value in trunk.state_dict().items():
        torch.testing.assert_close(value, before if name == "features.0.0.0.weight" else given[name])


def test_wrong_weights_are_named(reference: nn.Module, tmp_path: Path) -> None:
    state = reference.state_dict()
    del state["features.3.1.0.weight"]
    state["features.2.0.bias"] = torch.zeros(64)
    state["features.8.branch0.0.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "bad.pth")
    trunk = S3dTrunk(num_blocks=4)
    before = trunk.state_dict()["features.5.branch0.0.weight"].clone()
    names = r"missing: features\.3\.1\.0\.weight; unexpected: features\.2\.0\.bias; of another shape: features\.8"
    with pytest.raises(ArtefactError, match=names):
        load_kinetics(trunk, tmp_path / "bad.pth")
    torch.testing.assert_close(trunk.state_dict()["features.5.branch0.0.weight"], before)
    torch.save(reference.state_dict(), tmp_path / "good.pth")
    with pytest.raises(ArtefactError, match=r"of another shape: features.0.0.0.weight.*width 1"):
        load_kinetics(S3dTrunk(num_blocks=4, width=0.5), tmp_path / "good.pth")


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    trunk = S3dTrunk(num_blocks=1)
    with pytest.raises(ArtefactError, match="no such file"):
        load_kinetics(trunk, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ArtefactError, match="can't be read as weights"):
        load_kinetics(trunk, tmp_path / "text.pth")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(ArtefactError, match=r"no plain state dictionary; save the model's state_dict\(\)"):
        load_kinetics(trunk, tmp_path / "nested.pth")
    torch.save(nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(ArtefactError, match="can't be read as weights"):
        load_kinetics(trunk, tmp_path / "module.pth")


@pytest.mark.parametrize("stream", ["frames", "keypoints"])
@pytest.mark.parametrize("num_blocks", [3, 4, 5])
def test_a_clip_alone_is_the_clip_in_a_padded_batch(stream: str, num_blocks: int) -> None:
    model = settled(tiny(stream, num_blocks=num_blocks))
    inputs, num_frames = clips(stream, LENGTHS)
    with torch.no_grad():
        together = model.heads(inputs, num_frames)
        for row, length in enumerate(LENGTHS):
            alone = model.heads(inputs[row : row + 1, :length], num_frames[row : row + 1])
            for name in ("main", *together.others):
                padded, single = together.named(name), alone.named(name)
                steps = single.log_probs.shape[1]
                assert padded.num_steps[row] == single.num_steps[0] == steps
                torch.testing.assert_close(padded.log_probs[row, :steps], single.log_probs[0], atol=1e-5, rtol=1e-5)
    first, second = together.main.log_probs[-1, :2].exp()
    assert (first - second).abs().max() > 0.01  # the outputs do depend on the clip


def test_a_padded_clip_trains_as_the_clip_alone() -> None:
    inputs, num_frames = clips("frames", [11, 11])
    results = []
    for frames in (inputs, torch.cat([inputs, torch.full_like(inputs, 200)[:, :6]], dim=1)):
        model = tiny(dropout=0.0, norm_momentum=0.5).train()
        heads = model.heads(frames, num_frames)
        sum(head.log_probs[:, :3, 1].sum() for head in (heads.main, *heads.others.values())).backward()
        results.append((heads.main.log_probs[:, :3], dict(model.named_parameters()), dict(model.named_buffers())))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-4, rtol=1e-4)
    for name, buffer in results[0][2].items():
        torch.testing.assert_close(buffer, results[1][2][name], atol=1e-4, rtol=1e-4, msg=name)
    for name, parameter in results[0][1].items():
        assert parameter.grad is not None
        other = results[1][1][name].grad
        torch.testing.assert_close(parameter.grad, other, atol=2e-3 * parameter.grad.abs().max().item(), rtol=1e-2)


@pytest.mark.parametrize("stream", ["frames", "keypoints"])
def test_gradients_reach_every_parameter(stream: str) -> None:
    model = tiny(stream).train()
    batch = labelled(*clips(stream, [19, 24]))
    found = objective(model.heads(batch.inputs, batch.num_frames), batch, model.losses())
    assert set(found.parts) == {"ctc_main", "ctc_c2", "ctc_c3"}
    found.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("stream", ["frames", "keypoints"])
def test_bf16_agrees_with_float32(stream: str) -> None:
    model = settled(tiny(stream))
    inputs, num_frames = clips(stream, LENGTHS)
    with torch.no_grad():
        full = model.heads(inputs, num_frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model.heads(inputs, num_frames)
    for name in ("main", *full.others):
        assert half.named(name).log_probs.dtype == torch.float32
        for row, steps in enumerate(full.named(name).num_steps.tolist()):
            wanted, given = full.named(name).log_probs[row, :steps].exp(), half.named(name).log_probs[row, :steps].exp()
            torch.testing.assert_close(given, wanted, atol=0.05, rtol=0.1)


def test_a_bundles_plain_values_build_it_again() -> None:
    config = S3dConfig(stream="keypoints", **TINY)
    model = settled(config.build(vocab_size=6))
    again = S3d(vocab_size=6, **dataclasses.asdict(config)).eval()
    again.load_state_dict(model.state_dict())
    batch = clips("keypoints", [9])
    torch.testing.assert_close(model(*batch).log_probs, again(*batch).log_probs)


def test_a_frozen_block_stays_as_it_is() -> None:
    model = tiny(freeze_blocks=2).train()
    frozen = [layer for layer in model.trunk.features[:4]]
    before = [{key: value.clone() for key, value in layer.state_dict().items()} for layer in frozen]
    batch = labelled(*clips("frames", [19, 24]))
    objective(model.heads(batch.inputs, batch.num_frames), batch, model.losses()).total.backward()
    for layer, state in zip(frozen, before, strict=True):
        assert all(parameter.grad is None for parameter in layer.parameters())
        for key, value in layer.state_dict().items():
            torch.testing.assert_close(value, state[key])
    assert all(p.grad is not None for layer in model.trunk.features[4:] for p in layer.parameters())
    assert model.trunk.features[5].training
    assert not model.trunk.features[0].training


def test_checkpointing_changes_neither_gradients_nor_statistics() -> None:
    results = []
    for checkpoint_layers in (False, True):
        model = tiny(checkpoint_layers=checkpoint_layers, dropout=0.0, norm_momentum=0.3).train()
        batch = labelled(*clips("frames", [19, 24]))
        objective(model.heads(batch.inputs, batch.num_frames), batch, model.losses()).total.backward()
        results.append(model)
    plain, saved = results
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(saved.get_parameter(name).grad, parameter.grad)
    for name, buffer in plain.named_buffers():
        if "num_batches" not in name:
            torch.testing.assert_close(saved.get_buffer(name), buffer)
    assert all(norm.momentum in (0.3, 0.1) for norm in saved.modules() if isinstance(norm, MaskedBatchNorm))


@pytest.mark.parametrize("stream", ["frames", "keypoints"])
def test_channels_lie_last_all_the_way(stream: str) -> None:
    model = settled(tiny(stream))
    inputs, num_frames = clips(stream, LENGTHS)
    last = torch.channels_last_3d
    with torch.no_grad():
        prepared = model.prepare(inputs, num_frames)
        stages = model.trunk(prepared, num_frames)
        assert all(values.is_contiguous(memory_format=last) for values in [prepared, *(s.values for s in stages)])
        for parameter in model.trunk.parameters():
            parameter.data = parameter.data.contiguous()
        for given, wanted in zip(stages, model.trunk(prepared.contiguous(), num_frames), strict=True):
            kept = [mask_time(stage.values, stage.num_steps, dim=2) for stage in (given, wanted)]
            torch.testing.assert_close(*kept, atol=3e-4, rtol=1e-3)


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 4, 5])
def test_steps_are_the_frames_divided_and_rounded_up(num_blocks: int) -> None:
    model = tiny(num_blocks=num_blocks, with_pyramid=False).eval()
    for length in (1, 2, 3, 4, 5, 8, 9, 15, 17):
        with torch.no_grad():
            encoded = model(torch.zeros(1, length, 3, 32, 32, dtype=torch.uint8), torch.tensor([length]))
        assert encoded.num_steps.tolist() == [-(-length // model.stride)] == [encoded.log_probs.shape[1]]


@pytest.mark.parametrize("num_blocks", [1, 3, 4])
def test_a_step_sees_its_radius_and_no_frame_more(num_blocks: int) -> None:
    model = settled(tiny(num_blocks=num_blocks, with_pyramid=False, with_positions=False))
    radius = model.receptive_radius_frames
    assert radius is not None
    middle = -(-radius // model.stride)
    length = middle * model.stride + radius + 2
    inputs, num_frames = clips("frames", [length])
    changed = inputs.float().requires_grad_()
    model(changed, num_frames).log_probs[0, middle, 1].backward()
    seen = changed.grad.abs().sum((0, 2, 3, 4)).nonzero()[:, 0]  # type: ignore[union-attr]
    assert radius >= middle * model.stride - int(seen.min()) >= radius - model.stride - 2
    assert radius >= int(seen.max()) - middle * model.stride >= radius - model.stride - 2
    assert tiny().receptive_radius_frames is None  # positions tell where the clip began


def test_pixels_are_normalised_as_the_weights_expect() -> None:
    frames = torch.tensor([255, 0, 51], dtype=torch.uint8).reshape(1, 1, 3, 1, 1)
    expected = {
        "kinetics": [(1 - 0.43216) / 0.22803, -0.394666 / 0.22145, (0.2 - 0.37645) / 0.216989],
        "half": [1.0, -1.0, -0.6],
        "half_bgr": [-0.6, -1.0, 1.0],
    }
    for name, wanted in expected.items():
        values = tiny(normalisation=name).prepare(frames, torch.tensor([1]))
        torch.testing.assert_close(values.flatten(), torch.tensor(wanted), atol=1e-5, rtol=1e-5)
    assert frames.flatten().tolist() == [255, 0, 51]


def test_bad_settings_and_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="num_blocks must be 1 to 5 and freeze_blocks 0 to num_blocks, got 6 and 0"):
        tiny(num_blocks=6)
    with pytest.raises(ValueError, match="a pyramid needs at least 3 blocks, got num_blocks=2"):
        tiny(num_blocks=2)
    with pytest.raises(ValueError, match="must be 'frames' or 'keypoints', got 'hands'"):
        tiny("hands")
    with pytest.raises(ValueError, match="normalisation must be 'kinetics', 'half' or 'half_bgr', got 'none'"):
        tiny(normalisation="none")
    with pytest.raises(ValueError, match=r"keypoints must be \(B, T, 7, 3\), got \(1, 4, 63, 3\)"):
        tiny("keypoints")(torch.zeros(1, 4, 63, 3), torch.tensor([4]))
    with pytest.raises(ValueError, match=r"frames must be \(B, T, 3, H, W\) RGB, got \(1, 4, 32, 32, 3\)"):
        tiny()(torch.zeros(1, 4, 32, 32, 3, dtype=torch.uint8), torch.tensor([4]))


def test_slrts_weights_take_torchvisions_names(repository: Path, weights: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("convert", repository / "tools" / "convert_s3d_kinetics.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    names = {
        "module.base.0.conv_s.weight": "features.0.0.0.weight",
        "module.base.0.bn_t.running_var": "features.0.1.1.running_var",
        "base.2.conv.weight": "features.2.0.weight",
        "module.base.5.branch0.0.conv.weight": "features.5.branch0.0.weight",
        "module.base.5.branch0.0.bn.bias": "features.5.branch0.1.bias",
        "module.base.9.branch1.0.bn.weight": "features.9.branch1.0.1.weight",
        "module.base.9.branch2.1.conv_t.weight": "features.9.branch2.1.1.0.weight",
        "module.base.15.branch3.1.conv.weight": "features.15.branch3.1.0.weight",
        "module.fc.0.bias": "classifier.1.bias",
    }
    assert {name: tool.torchvision_name(name) for name in names} == names
    given = torch.load(weights, weights_only=True)
    assert set(names.values()) <= given.keys()
    torch.save({"module.base.0.conv_x.weight": torch.zeros(1)}, tmp_path / "bad.pt")
    assert tool.main([str(tmp_path / "bad.pt"), str(tmp_path / "out.pth")]) == 1
    torch.save({name: given[wanted] for name, wanted in names.items()}, tmp_path / "slrt.pt")
    assert tool.main([str(tmp_path / "slrt.pt"), str(tmp_path / "out.pth")]) == 0
    assert torch.load(tmp_path / "out.pth", weights_only=True).keys() == set(names.values())
