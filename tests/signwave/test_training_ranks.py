"""Two processes train like one with the same global batch."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from signwave.batch import Batch
from signwave.training import checkpoints
from signwave.training.data import DataModule

SCRIPT = Path(__file__).with_name("tiny_recipe.py")
SETTINGS = ["dropout=0", "length=5", "num_items=24", "train.max_epochs=2", "train.accelerator=cpu"]


@dataclass(frozen=True, repr=False)
class Numbered(Batch):
    inputs: torch.Tensor


class _Numbers:
    def __init__(self, size):
        self.lengths = [4] * size

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, draw):
        return draw.index

    def collate(self, items):
        return Numbered(torch.tensor(items)[:, None])


def weights(folder, launcher, *settings):
    command = [*launcher, str(SCRIPT), f"runs_dir={folder}", *SETTINGS, *settings]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    (run,) = [path for path in folder.iterdir() if f"name={path.name}" in settings]
    return checkpoints.load(checkpoints.latest_valid(run / "checkpoints"))


@pytest.mark.slow
def test_two_ranks_equal_one_process(tmp_path):
    # mean over equal parts: the average of two ranks' gradients is the gradient of the whole batch
    one = weights(tmp_path, [sys.executable], "name=one", "train.budget=20")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = weights(tmp_path, launcher, "name=two", "train.budget=10", "train.devices=2", "train.strategy=ddp")
    assert one["global_step"] == two["global_step"] == 12
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, atol=1e-6, rtol=1e-5)


def test_every_rank_tests_on_all_items_and_trains_and_validates_on_its_share():
    seen = {}
    for rank in (0, 1):
        data = DataModule(*(_Numbers(10) for _ in range(3)), budget=8)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        data.num_train_batches = 3
        for name in ("train", "val", "test"):
            batches = getattr(data, f"{name}_dataloader")()
            seen[name, rank] = sorted(int(i) for batch in batches for i in batch.inputs[:, 0])
    assert seen["test", 0] == seen["test", 1] == list(range(10))
    for name in ("train", "val"):
        assert sorted(seen[name, 0] + seen[name, 1]) == list(range(10))
