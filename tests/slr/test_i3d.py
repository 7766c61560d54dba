"""I3D against its layers written out by name, and the checkpoints that it loads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from signwave.errors import ArtefactError, ConfigError
from slr.features.checkpoints import load_i3d
from slr.features.loading import load_encoder
from slr.models.i3d import NUM_BSL5K_CLASSES, InceptionI3d, same_padding

State = dict[str, Tensor]
NUM_CLASSES = 7


@pytest.fixture(scope="module")
def state() -> State:
    """Weights under which values neither vanish nor are alike; norms that shift and scale."""
    torch.manual_seed(0)
    model = InceptionI3d(num_classes=NUM_CLASSES)
    found = model.state_dict()
    for name, value in found.items():
        if name.endswith("conv3d.weight"):
            value.normal_(std=math.sqrt(2 / value[0].numel()))
        elif name.endswith(("running_mean", "bn.bias")):
            value.normal_(std=0.1)
        elif name.endswith(("running_var", "bn.weight")):
            value.uniform_(0.5, 1.5)
    return found


def padded(values: Tensor, kernel: list[int], stride: list[int]) -> Tensor:
    """TensorFlow's SAME, a dimension at a time."""
    for dim in range(3):
        size = values.shape[2 + dim]
        total = max((math.ceil(size / stride[dim]) - 1) * stride[dim] + kernel[dim] - size, 0)
        pads = [0] * 6
        pads[4 - 2 * dim], pads[5 - 2 * dim] = total // 2, total - total // 2
        values = functional.pad(values, pads)
    return values


def unit(state: State, name: str, values: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.conv3d.weight"]
    hidden = functional.conv3d(padded(values, list(weight.shape[2:]), [stride] * 3), weight, stride=stride)
    mean, var, scale, shift = (
        state[f"{name}.bn.{part}"][:, None, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return functional.relu((hidden - mean) / torch.sqrt(var + 1e-3) * scale + shift)


def pool(values: Tensor, kernel: list[int], stride: list[int]) -> Tensor:
    return functional.max_pool3d(padded(values, kernel, stride), kernel, stride)


def mixed(state: State, name: str, values: Tensor) -> Tensor:
    branches = [unit(state, f"{name}.b0", values)]
    branches += [unit(state, f"{name}.b{i}b", unit(state, f"{name}.b{i}a", values)) for i in (1, 2)]
    return torch.cat([*branches, unit(state, f"{name}.b3b", pool(values, [3, 3, 3], [1, 1, 1]))], 1)


def reference(state: State, values: Tensor) -> Tensor:
    """(B, 1024) float, as the layers of the paper's figure 3 follow each other."""
    hidden = pool(unit(state, "Conv3d_1a_7x7", values, 2), [1, 3, 3], [1, 2, 2])
    hidden = unit(state, "Conv3d_2c_3x3", unit(state, "Conv3d_2b_1x1", hidden))
    hidden = pool(hidden, [1, 3, 3], [1, 2, 2])
    for name in ("3b", "3c", "", "4b", "4c", "4d", "4e", "4f", "-", "5b", "5c"):
        if name in ("", "-"):
            hidden = pool(hidden, [3, 3, 3] if name == "" else [2, 2, 2], [2, 2, 2])
        else:
            hidden = mixed(state, f"Mixed_{name}", hidden)
    return hidden.mean((2, 3, 4))


@pytest.mark.parametrize("shape", [(16, 64, 64), (13, 50, 65)])
def test_the_network_is_its_layers_by_name(state: State, shape: tuple[int, int, int]) -> None:
    model = InceptionI3d(num_classes=NUM_CLASSES).eval()
    model.load_state_dict(state)
    windows = torch.rand(2, 3, *shape) - 0.5
    with torch.no_grad():
        found, expected = model.embed(windows), reference(state, windows)
        assert found.shape == (2, 1024)
        assert float(expected.std()) > 0.05
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        logits = expected @ state["logits.conv3d.weight"].flatten(1).T + state["logits.conv3d.bias"]
        torch.testing.assert_close(model(windows), logits, atol=1e-4, rtol=1e-4)


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 3))
def test_padding_gives_as_many_steps_as_tensorflow(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding((1, 1, size), (1, 1, kernel), (1, 1, stride))[:2]
    assert after - before in (0, 1)
    if kernel >= stride:
        assert (size + before + after - kernel) // stride + 1 == math.ceil(size / stride)


def test_it_has_as_many_weights_as_the_released_port() -> None:
    assert sum(p.numel() for p in InceptionI3d(num_classes=400).parameters()) == 12_697_264
    assert InceptionI3d(num_classes=NUM_BSL5K_CLASSES).state_dict()["logits.conv3d.weight"].shape[0] == 5383


def test_checkpoints_of_bsl_load_as_they_are(state: State, tmp_path: Path) -> None:
    """A training script's: wrapped for several GPUs, with scores of numpy and an optimiser beside the weights."""
    wrapped = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    path = tmp_path / "bsl5k.pth.tar"
    content = {"epoch": 3, "acc": np.float64(0.5), "loss": np.float32(1), "optimizer": {"state": {}}}
    torch.save({**content, "state_dict": wrapped}, path)
    model = load_i3d(path)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model(torch.zeros(1, 3, 16, 32, 32)).shape == (1, NUM_CLASSES)
    torch.save({name: value for name, value in state.items() if not name.startswith("logits")}, tmp_path / "bare.pt")
    assert load_i3d(tmp_path / "bare.pt").logits is None
    for name, std in (("i3d", 1.0), ("i3d:kinetics", 0.5)):
        encoder = load_encoder(name, weights=path)
        assert (encoder.dim, encoder.spec.size_px, encoder.spec.window_frames) == (1024, (224, 224), 16)
        assert (encoder.spec.mean, encoder.spec.std) == ((0.5,) * 3, (std,) * 3)
        assert all(torch.equal(value, state[name]) for name, value in encoder.backbone.state_dict().items())
        assert not any(name.startswith("logits") for name in encoder.backbone.state_dict())


class Foreign:
    """Something that a file could make a careless reader run."""


def test_what_is_missing_or_unknown_is_named_in_one_line(state: State, tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth"
    wrong = {name: value for name, value in state.items() if name != "Mixed_3b.b1b.conv3d.weight"}
    torch.save({**wrong, "Mixed_9z.b0.conv3d.weight": torch.zeros(1)}, path)
    told = r"missing: Mixed_3b.b1b.conv3d.weight; unexpected: Mixed_9z.b0.conv3d.weight\); give weights of InceptionI3d"
    with pytest.raises(ArtefactError, match=told) as raised:
        load_i3d(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(ArtefactError, match=r"1 weights missing, 1 unknown, .* e.g. 'Mixed_3b.b1b.conv3d.weight'"):
        load_encoder("i3d", weights=path)
    torch.save({"state_dict": state, "script": Foreign()}, path)
    with pytest.raises(ArtefactError, match="holds no plain weights"):
        load_encoder("i3d", weights=path)
    with pytest.raises(ConfigError, match=r"i3d needs --weights FILE, .* or --weights random"):
        load_encoder("i3d")
    with pytest.raises(ConfigError, match=r"give torchvision:MODEL, .* i3d or i3d:kinetics"):
        load_encoder("i3d:wlasl", weights=path)
