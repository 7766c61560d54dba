"""The VAC family's model: padding, gradients, precision, weights from a file, and rows without padding."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet18

from signwave.errors import ArtefactError
from slr.models.packed_frames import find_places
from slr.models.resnet_bilstm import NormLinear, ResnetBilstm, ResnetBilstmConfig, TemporalConv, TimePadding
from slr.training.batch import SignBatch
from slr.training.losses import objective

VOCAB_SIZE = 7
CORRELATION = [pytest.param(False, id="plain"), pytest.param(True, id="correlation")]


def tiny(**changes: Any) -> ResnetBilstm:
    torch.manual_seed(0)
    model = ResnetBilstmConfig(**{"base_channels": 4, "dim": 16, **changes}).build(vocab_size=VOCAB_SIZE)
    for module in model.trunk.correlations or ():
        module.gate.data.fill_(0.5)
    return model


def batch(lengths: list[int], *, size_px: int = 32, longest: int | None = None) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    shape = (len(lengths), longest or max(lengths), 3, size_px, size_px)
    # Noise at every place: padding may hold anything.
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw), torch.tensor(lengths)


def sign_batch(inputs: Tensor, num_frames: Tensor) -> SignBatch:
    labels = torch.tensor([[1, 2], [3, 0]])
    return SignBatch(
        inputs=inputs,
        num_frames=num_frames,
        labels=labels,
        num_labels=torch.tensor([2, 1]),
        ids=("a", "b"),
        frame_labels=torch.full(inputs.shape[:2], -1),
    )


@pytest.mark.parametrize("correlation", CORRELATION)
@pytest.mark.parametrize("time_padding", ["same", "edge", "legacy_valid"])
def test_a_clip_alone_is_the_clip_in_a_padded_batch(correlation: bool, time_padding: TimePadding) -> None:
    model = tiny(correlation=correlation, time_padding=time_padding).eval()
    lengths = [1, 4, 9, 18]
    inputs, num_frames = batch(lengths, longest=23)
    together = model.heads(inputs, num_frames)
    for row, length in enumerate(lengths):
        alone = model.heads(inputs[row : row + 1, :length], num_frames[row : row + 1])
        for name in ("main", "conv"):
            here, there = together.named(name), alone.named(name)
            assert here.num_steps[row] == there.num_steps[0] == there.log_probs.shape[1]
            steps = int(here.num_steps[row])
            torch.testing.assert_close(here.log_probs[row, :steps], there.log_probs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("time_padding", ["same", "edge", "legacy_valid"])
def test_steps_are_counted_as_documented(time_padding: TimePadding) -> None:
    lengths = list(range(1, 40))
    conv = TemporalConv(3, 4, time_padding=time_padding)
    hidden, num_steps = conv(torch.randn(len(lengths), 39, 3), torch.tensor(lengths))
    shortened = [max(1, ((length - 4) // 2 - 4) // 2) for length in lengths]
    assert num_steps.tolist() == (shortened if time_padding == "legacy_valid" else [-(-n // 4) for n in lengths])
    assert hidden.shape[1] == max(num_steps)


def test_edges_are_what_the_vac_loader_makes_of_a_clip() -> None:
    torch.manual_seed(0)
    edge, valid = TemporalConv(3, 4, time_padding="edge").eval(), TemporalConv(3, 4, time_padding="legacy_valid").eval()
    valid.load_state_dict(edge.state_dict())
    clip = torch.randn(9, 3)
    # 9 frames fill three steps of four; six more stand on either side.
    padded = torch.cat([clip[:1].expand(6, 3), clip, clip[-1:].expand(3 + 6, 3)])
    expected, num_steps = valid(padded[None], torch.tensor([len(padded)]))
    found, found_steps = edge(clip[None], torch.tensor([9]))
    assert num_steps.tolist() == found_steps.tolist() == [3]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("correlation", CORRELATION)
@pytest.mark.parametrize("share_classifier", [True, False])
def test_the_loss_reaches_every_parameter(correlation: bool, share_classifier: bool) -> None:
    model = tiny(correlation=correlation, share_classifier=share_classifier, backbone="resnet34").train()
    inputs, num_frames = batch([30, 22])
    found = objective(model.heads(inputs, num_frames), sign_batch(inputs, num_frames), model.losses())
    found.total.backward()
    assert set(found.parts) == {"ctc_main", "ctc_conv", "main_teaches_conv"}
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_losses_follow_the_settings() -> None:
    losses = tiny().losses()
    assert dict(losses.ctc) == {"main": 1.0, "conv": 1.0}
    assert losses.distillations == (("main", "conv", 25.0, 8.0, True, "step"),)
    plain = tiny(conv_weight=0.0, distillation_weight=0.0).losses()
    assert dict(plain.ctc) == {"main": 1.0}
    assert plain.distillations == ()


@pytest.mark.parametrize("correlation", CORRELATION)
def test_rows_are_the_same_whether_counted_given_or_padded(correlation: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(correlation=correlation).eval()
    inputs, num_frames = batch([5, 12, 1])
    counted = model(inputs, num_frames).log_probs
    given = model(inputs, num_frames, num_valid=18).log_probs
    torch.testing.assert_close(given, counted)
    # As on a device where nobody knows the number: every frame is a row.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert len(find_places(num_frames, 12).source) == 36
    everything = model(inputs, num_frames).log_probs
    for row, steps in enumerate([2, 3, 1]):
        torch.testing.assert_close(everything[row, :steps], counted[row, :steps], atol=1e-5, rtol=1e-5)


def test_norms_see_pictures_alone() -> None:
    inputs, num_frames = batch([9, 4])
    spoilt = inputs.clone()
    spoilt[1, 4:] = 255
    models = [tiny(dropout=0.0).train(), tiny(dropout=0.0).train()]
    outputs = [m(x, num_frames, num_valid=13).log_probs for m, x in zip(models, (inputs, spoilt), strict=True)]
    torch.testing.assert_close(outputs[0][1, :1], outputs[1][1, :1])
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(value, models[1].state_dict()[name], msg=name)


def test_a_wrong_number_of_frames_is_refused() -> None:
    inputs, num_frames = batch([5, 3])
    with pytest.raises(RuntimeError, match="num_valid must be the sum of num_frames"):
        tiny()(inputs, num_frames, num_valid=9)


@pytest.mark.parametrize("correlation", CORRELATION)
def test_bf16_and_float32_agree(correlation: bool) -> None:
    model = tiny(correlation=correlation, norm_scale=2.0).eval()
    inputs, num_frames = batch([20, 13])
    expected = model.heads(inputs, num_frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.heads(inputs, num_frames)
    for name in ("main", "conv"):
        assert found.named(name).log_probs.dtype == torch.float32
        torch.testing.assert_close(
            found.named(name).log_probs.exp(), expected.named(name).log_probs.exp(), atol=0.02, rtol=0.05
        )


@pytest.mark.parametrize("recompute", ["stem", "all"])
@pytest.mark.parametrize("correlation", CORRELATION)
def test_recomputing_changes_nothing(correlation: bool, recompute: str) -> None:
    inputs, num_frames = batch([14, 9])
    plain, twice = (
        tiny(correlation=correlation, recompute="none").train(),
        tiny(correlation=correlation, recompute=recompute).train(),
    )
    for model in (plain, twice):
        torch.manual_seed(3)
        objective(model.heads(inputs, num_frames), sign_batch(inputs, num_frames), model.losses()).total.backward()
    for (name, one), other in zip(plain.named_parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name, atol=1e-4, rtol=1e-3)
    for name, value in plain.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(twice.state_dict()[name], value, msg=name)


def test_state_dict_round_trip() -> None:
    first = tiny(correlation=True).train()
    first(*batch([6, 4]))  # running statistics that aren't those of the start
    second = ResnetBilstmConfig(base_channels=4, dim=16, correlation=True).build(vocab_size=VOCAB_SIZE)
    second.load_state_dict(first.state_dict())
    inputs, num_frames = batch([11])
    torch.testing.assert_close(
        first.eval()(inputs, num_frames).log_probs, second.eval()(inputs, num_frames).log_probs, rtol=0, atol=0
    )


def test_layout_changes_nothing() -> None:
    model = tiny(correlation=True).eval()
    assert model.trunk.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    plain = copy.deepcopy(model)
    for weights in plain.parameters():
        weights.data = weights.data.contiguous()
    inputs, num_frames = batch([7, 5])
    frames = inputs.flatten(0, 1)[:12].float() * model.scale + model.shift
    places = find_places(torch.tensor([12]), 12)
    last = model.trunk(frames.to(memory_format=torch.channels_last), places)
    torch.testing.assert_close(last, plain.trunk(frames, places), atol=1e-5, rtol=1e-5)
    assert inputs.flatten(0, 1).is_contiguous()  # the batch itself isn't turned round
    torch.testing.assert_close(
        plain(inputs, num_frames).log_probs, model(inputs, num_frames).log_probs, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("normalisation", ["imagenet", "half"])
def test_pixels_are_normalised(normalisation: str) -> None:
    model = tiny(normalisation=normalisation)
    pixels = torch.tensor([0.0, 128.0, 255.0])[:, None, None, None].expand(3, 3, 1, 1)
    found = (pixels * model.scale + model.shift)[:, :, 0, 0]
    if normalisation == "half":
        expected = (torch.tensor([0.0, 128.0, 255.0]) / 127.5 - 1)[:, None].expand(3, 3)
    else:
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        expected = (torch.tensor([[0.0], [128.0], [255.0]]) / 255 - mean) / deviation
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("correlation", CORRELATION)
def test_torchvision_weights_load_and_give_its_features(correlation: bool, tmp_path: Path) -> None:
    torch.manual_seed(5)
    theirs = resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    model = ResnetBilstmConfig(dim=16, correlation=correlation).build(vocab_size=VOCAB_SIZE).eval()
    model.load_backbone(tmp_path / "resnet18.pth")
    theirs.fc = torch.nn.Identity()
    inputs, num_frames = batch([2])
    normalised = inputs[0].float() * model.scale + model.shift
    # The gates are at their start, 0: CorrNet is a plain ResNet there.
    torch.testing.assert_close(model.look(inputs, num_frames)[0], theirs(normalised), atol=1e-4, rtol=1e-4)


def test_the_wrong_weights_are_named(tmp_path: Path) -> None:
    model = tiny()
    model.load_backbone("")
    with pytest.raises(ArtefactError, match=r"none.pth: no such file; give torchvision's resnet18"):
        model.load_backbone(tmp_path / "none.pth")
    torch.save(tiny(base_channels=8).trunk.state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ArtefactError, match=r"of another shape: bn1.bias, .* and \d+ more.*base_channels 64"):
        model.load_backbone(tmp_path / "wide.pth")
    deep = tiny(backbone="resnet34").trunk.state_dict()
    torch.save(deep, tmp_path / "deep.pth")
    with pytest.raises(ArtefactError, match=r"unexpected: layer1.2"):
        model.load_backbone(tmp_path / "deep.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ArtefactError, match=r"text.pth: can't be read as weights"):
        model.load_backbone(tmp_path / "text.pth")
    torch.save({"state": deep}, tmp_path / "nested.pth")
    with pytest.raises(ArtefactError, match=r"holds no plain state dictionary"):
        model.load_backbone(tmp_path / "nested.pth")


def test_the_classifier_has_unit_weights_and_is_shared() -> None:
    model = tiny(norm_scale=3.0)
    assert model.conv_classifier is None
    linear = NormLinear(4, 3, scale=3.0)
    hidden = torch.randn(2, 4)
    directions = linear.weight / linear.weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(linear(hidden), 3.0 * hidden @ directions.T)
    plain = tiny(norm_classifier=False, share_classifier=False)
    assert isinstance(plain.classifier, torch.nn.Linear)
    assert plain.conv_classifier is not plain.classifier


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet50"}, "backbone must be one of resnet18, resnet34, got 'resnet50'"),
        ({"dim": 15}, "dim must be even"),
        ({"num_lstm_layers": 0}, "num_lstm_layers must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResnetBilstmConfig(**changes)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"frames must be \(B, T, 3, H, W\), got \(1, 2, 32, 32, 3\)"):
        tiny()(torch.zeros(1, 2, 32, 32, 3, dtype=torch.uint8), torch.tensor([2]))


@pytest.mark.slow
@pytest.mark.parametrize("correlation", CORRELATION)
def test_the_part_before_the_lstm_compiles_as_one_graph(correlation: bool) -> None:
    model = tiny(correlation=correlation).eval()
    inputs, num_frames = batch([6, 4])
    look = torch.compile(model.look, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(
            look(inputs, num_frames, num_valid=10), model.look(inputs, num_frames), atol=1e-4, rtol=1e-4
        )


@pytest.mark.gpu
@pytest.mark.parametrize("correlation", CORRELATION)
def test_a_gpu_gives_the_same_and_is_not_waited_for(correlation: bool) -> None:
    model = tiny(correlation=correlation).eval()
    inputs, num_frames = batch([20, 13])
    expected = model(inputs, num_frames).log_probs
    model, inputs, num_frames = model.cuda(), inputs.cuda(), num_frames.cuda()
    model(inputs, num_frames, num_valid=33)  # libraries set themselves up at the first call, and wait for it
    torch.cuda.set_sync_debug_mode("error")
    try:
        given = model(inputs, num_frames, num_valid=33).log_probs
        padded = model(inputs, num_frames).log_probs
        with torch.autocast("cuda", dtype=torch.bfloat16):
            half = model(inputs, num_frames, num_valid=33).log_probs
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for row, steps in enumerate([5, 4]):
        for found, tolerance in ((given, 1e-3), (padded, 1e-3), (half, 0.05)):
            torch.testing.assert_close(
                found[row, :steps].cpu().exp(), expected[row, :steps].exp(), atol=tolerance, rtol=tolerance
            )
