"""Two processes train like one with the same global batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from signwave.training import checkpoints

SCRIPT = Path(__file__).with_name("tiny_recipe.py")
SETTINGS = ["dropout=0", "length=5", "num_items=24", "train.max_epochs=2", "train.accelerator=cpu"]


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
