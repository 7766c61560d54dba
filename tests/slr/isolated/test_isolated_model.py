"""The model of isolated signs on every trunk that lends features: padding, pooling, classifiers, gradients."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slr.isolated.model import CosineClassifier, IsolatedSigns
from slr.models.interface import Trunk

_HEAD = {"head_dim": 16, "feedforward_dim": 16, "width": 0.125}
_MAPS = {"heatmap_height_px": 16, "heatmap_width_px": 16, "sigma_px": 1.0}
TRUNKS: dict[str, tuple[str, dict[str, Any]]] = {
    "keypoints": ("slr.keypoint_conformer", {"dim": 16, "group_dim": 8, "num_blocks": 1, "num_heads": 2}),
    "frames": ("slr.s3d", {**_HEAD, "num_blocks": 3}),
    "heat maps": ("slr.s3d", {**_HEAD, **_MAPS, "stream": "keypoints", "with_pyramid": True}),
    "two streams": ("slr.two_stream", {**_HEAD, **_MAPS, "num_blocks": 3, "lateral_init": "kaiming"}),
}
each_trunk = pytest.mark.parametrize("name", TRUNKS)
NUM_CLASSES = {"dgs": 4, "a.b": 3}


def _model(name: str, **options: Any) -> IsolatedSigns:
    torch.manual_seed(0)
    kind, trunk = TRUNKS[name]
    return IsolatedSigns(trunk_kind=kind, trunk=trunk, num_classes=NUM_CLASSES, **options).eval()


def _inputs(model: IsolatedSigns, num_windows: int, num_frames: int = 16) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(num_windows, num_frames, 63, 3, generator=generator) - torch.tensor([0.5, 0.5, 0.0])
    if model.reads == "keypoints":
        return points, None
    frames = torch.randint(0, 256, (num_windows, num_frames, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return frames, points if model.reads == "frames+keypoints" else None


@each_trunk
def test_padding_changes_nothing(name: str) -> None:
    model = _model(name)
    inputs, points = _inputs(model, 3)
    num_frames = torch.tensor([16, 9, 4])
    foreground = torch.arange(16)[None] < torch.tensor([12, 16, 2])[:, None]
    with torch.no_grad():
        together = model(inputs, num_frames, points=points, foreground=foreground)
        for i, size in enumerate(num_frames.tolist()):
            row = slice(i, i + 1)
            alone = model(
                inputs[row, :size], num_frames[row], points=None if points is None else points[row, :size],
                foreground=foreground[row, :size],
            )  # fmt: skip
            for stream in model.streams:
                torch.testing.assert_close(together.whole[stream][row], alone.whole[stream], atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(
                    together.foreground[stream][row], alone.foreground[stream], atol=1e-5, rtol=1e-4
                )


@each_trunk
def test_pooling_is_that_of_a_loop(name: str) -> None:
    model = _model(name)
    inputs, points = _inputs(model, 3)
    num_frames = torch.tensor([16, 16, 7])
    foreground = torch.zeros(3, 16, dtype=torch.bool)
    foreground[0, 3:10] = True  # parts of steps
    foreground[2, 2:] = True  # past its end too; the second window has none
    with torch.no_grad():
        found = model(inputs, num_frames, points=points, foreground=foreground)
        steps = cast(Trunk, model.trunk).step_features(inputs, num_frames, points=points)
    assert found.foreground is not None
    for stream, features in steps.streams.items():
        for i in range(3):
            size = int(steps.num_steps[i])
            whole = sum(features[i, t] for t in range(size)) / size
            torch.testing.assert_close(found.whole[stream][i], whole, atol=1e-5, rtol=1e-4)
            frames = [f for f in range(int(num_frames[i])) if foreground[i, f]]
            inside = sum(features[i, f // model.stride] for f in frames) / len(frames) if frames else whole
            torch.testing.assert_close(found.foreground[stream][i], inside, atol=1e-5, rtol=1e-4)


@each_trunk
def test_every_language_has_classes_of_its_own_on_every_stream(name: str) -> None:
    model = _model(name)
    inputs, points = _inputs(model, 2)
    with torch.no_grad():
        pooled = model(inputs, torch.tensor([16, 16]), points=points)
        assert pooled.foreground is None
        for language, size in NUM_CLASSES.items():
            streams = model.classify(pooled.whole, language)
            assert {one: tuple(values.shape) for one, values in streams.items()} == dict.fromkeys(
                model.streams, (2, size)
            )
            mean = torch.stack([values.exp() for values in streams.values()]).mean(0)
            torch.testing.assert_close(model.probabilities(pooled.whole, language).exp(), mean)
            torch.testing.assert_close(mean.sum(1), torch.ones(2))
        embedded = model.embed(pooled.whole)
    dims = cast(Trunk, model.trunk).feature_dims
    assert embedded.shape == (2, sum(dims.values()))
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(2))


@each_trunk
def test_gradients_reach_everything_that_the_language_uses(name: str) -> None:
    model = _model(name).train()
    inputs, points = _inputs(model, 4)
    foreground = torch.ones(4, 16, dtype=torch.bool)
    foreground[:, 9:] = False
    pooled = model(inputs, torch.full((4,), 16), points=points, foreground=foreground)
    for features in (pooled.whole, pooled.foreground):
        for log_probs in model.classify(features, "dgs").values():
            log_probs[:, 1].sum().backward(retain_graph=True)
    missing = {key for key, value in model.named_parameters() if value.grad is None}
    assert missing == {key for key, _ in model.named_parameters() if key.startswith("classifiers") and ".1." in key}
    assert not [key for key, _ in model.trunk.named_parameters() if "head" in key or key.startswith("output")]


def test_a_cosine_classifier_sees_directions_alone() -> None:
    torch.manual_seed(0)
    layer = CosineClassifier(8, 3, scale=30.0).requires_grad_(False)
    features = torch.randn(5, 8)
    found = layer(features)
    for i in range(5):
        for c in range(3):
            cosine = functional.cosine_similarity(features[i], layer.weight[c], dim=0)
            assert float(found[i, c]) == pytest.approx(30 * float(cosine), abs=1e-4)
    torch.testing.assert_close(layer(100 * features), found)
    assert found.abs().max() <= 30
    layer.weight.mul_(7.0)
    torch.testing.assert_close(layer(features), found)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(features)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, found)


def test_settings_of_the_classifiers() -> None:
    linear = _model("keypoints", classifier="linear").classifiers["main"]
    assert [type(one).__name__ for one in linear] == ["Linear", "Linear"]
    cosine = _model("keypoints", scale=12.0).classifiers["main"]
    assert [one.scale for one in cosine] == [12.0, 12.0]
    with pytest.raises(ValueError, match=r"kind 'slr\.pose_conv' lends no features"):
        IsolatedSigns(trunk_kind="slr.pose_conv", trunk={}, num_classes={"a": 2})


def test_dropout_is_before_the_classifiers_and_in_training_alone() -> None:
    model = _model("keypoints", dropout=0.5)
    features = {"main": torch.randn(4, 16)}
    once, again = (model.classify(features, "dgs")["main"] for _ in range(2))
    assert torch.equal(once, again)
    model.train()
    assert not torch.equal(model.classify(features, "dgs")["main"], model.classify(features, "dgs")["main"])
    assert math.isclose(model.dropout.p, 0.5)
