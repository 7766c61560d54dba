"""The table of models: figures that can be worked out by hand, models that aren't there, and the file it goes into."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn


def load(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repository / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model_table(repository: Path) -> ModuleType:
    return load(repository, "model_table")


@pytest.fixture(scope="module")
def tensor_memory(repository: Path) -> ModuleType:
    return load(repository, "tensor_memory")


class TwoLayers(nn.Module):
    reads = "features"
    feature_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False)

    def forward(self, inputs: Tensor, num_frames: Tensor) -> Tensor:
        hidden: Tensor = self.second(self.first(inputs))
        return hidden


def test_figures_are_those_worked_out_by_hand(model_table: ModuleType) -> None:
    model = TwoLayers()
    inputs = model_table.example(model, "features", 10, size_px=8)
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {"inputs": (1, 10, 3)}
    cost = model_table.count(model, inputs, 10)
    assert cost.parameters == 3 * 5 + 5 * 2
    assert cost.flops_per_frame == 2 * (3 * 5 + 5 * 2)
    assert cost.memory_bytes == 4 * 10 * (5 + 2)


def test_a_model_that_reads_two_streams_gets_both(model_table: ModuleType) -> None:
    inputs = model_table.example(None, "frames+keypoints", 4, size_px=8)
    assert {name: (tuple(value.shape), value.dtype) for name, value in inputs.items()} == {
        "inputs": ((1, 4, 3, 8, 8), torch.uint8),
        "points": ((1, 4, 63, 3), torch.float32),
    }


def test_fake_figures_are_those_of_a_true_run(model_table: ModuleType) -> None:
    sizes = {"base_channels": 4, "dim": 16, "correlation": True}
    entry = model_table.Entry("tiny", "resnet_bilstm", "ResnetBilstmConfig", sizes)
    true = model_table.Entry("tiny", "resnet_bilstm", "ResnetBilstmConfig", sizes, on_cpu=True)
    fake = model_table.measure(entry, num_frames=6, size_px=32)
    assert fake == model_table.measure(true, num_frames=6, size_px=32)
    assert fake.flops_per_frame > 0


def test_every_kind_of_recogniser_has_a_line(model_table: ModuleType) -> None:
    from slr.medium import KINDS

    shipped = {kind.module for kind in KINDS.values() if kind.module.startswith("slr.models.")}  # tests add others
    assert {f"slr.models.{entry.module}" for entry in model_table.ENTRIES} == shipped


def test_the_table_and_what_is_absent(model_table: ModuleType) -> None:
    entries = (
        model_table.Entry("Tiny", "resnet_bilstm", "ResnetBilstmConfig", {"base_channels": 4, "dim": 16}),
        model_table.Entry("Unwritten", "no_such_model", "NoConfig"),
    )
    lines = model_table.table(entries, num_frames=4, size_px=32).splitlines()
    assert lines[2].startswith("| Tiny | `slr/models/resnet_bilstm.py` | 0.")
    assert lines[2].endswith(" MiB |")
    assert lines[3] == "| Unwritten | `slr/models/no_such_model.py` | absent | | |"
    assert "4 frames of 32 × 32 pixels" in lines[-1]


def test_the_file_keeps_what_stands_around_the_table(model_table: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "models.md"
    model_table.write(path, "one")
    path.write_text("Before.\n" + path.read_text(encoding="utf-8") + "After.\n", encoding="utf-8")
    model_table.write(path, "two")
    content = path.read_text(encoding="utf-8")
    assert content.startswith("Before.\n# Models\n")
    assert content.endswith(f"{model_table.START}\ntwo\n{model_table.END}\nAfter.\n")
    assert "one\n" not in content.split(model_table.START)[1]
    plain = tmp_path / "plain.md"
    plain.write_text("# Mine\n", encoding="utf-8")
    model_table.write(plain, "three")
    assert plain.read_text(encoding="utf-8") == f"# Mine\n\n{model_table.START}\nthree\n{model_table.END}\n"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_memory_counts_what_is_alive_and_no_views(tensor_memory: ModuleType, device: str) -> None:
    inputs = torch.zeros(1000, device=device, requires_grad=True)
    with tensor_memory.TensorMemory([inputs]) as memory:
        doubled = inputs * 2
        part, same = doubled[:10], inputs.view(10, 100)
        assert memory.live_bytes == 4000
        grown = doubled.exp()
        assert memory.live_bytes == 8000
        del doubled, part, same  # exp keeps its result for the gradient and not its input
        assert memory.live_bytes == 4000
        waves = grown.sin()
        del grown  # sin keeps its input
        assert memory.live_bytes == 8000
        assert memory.peak_bytes == 8000
        del waves
        assert memory.live_bytes == 0
