"""Bad items, non-finite gradients, dead and stuck loaders: named, counted, survived or ended with one line."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signwave.errors import UserError
from signwave.recipe import run
from signwave.training.guards import Watchdog
from signwave.training.items import BadItem, ItemLog

SCRIPT = Path(__file__).with_name("tiny_recipe.py")
_SPEC = importlib.util.spec_from_file_location("tiny_recipe", SCRIPT)
tiny = importlib.util.module_from_spec(_SPEC)
sys.modules["tiny_recipe"] = tiny
_SPEC.loader.exec_module(tiny)


def recipe(folder, **options):
    train = options.pop("train", {})
    made = tiny.Tiny(name="run", runs_dir=str(folder), **options)
    return dataclasses.replace(made, train=dataclasses.replace(made.train, **train))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bad_item_is_named_counted_and_left_out(tmp_path, caplog, num_workers):
    made = recipe(tmp_path, bad=[4], train={"num_workers": num_workers})
    results = run(made)
    assert results["num_bad_items"] == {"train": 1}
    assert results["bad_items"] == {"train": ["clip4.mp4: truncated after 5 of 500 frames"]}
    assert caplog.text.count("train item 4 left out: clip4.mp4: truncated") == 1  # not once an epoch
    ids = [name for batch in made.module.seen for name in batch]
    assert ids.count("clip4") == 0
    assert ids.count("clip5") == 3


def test_too_many_bad_items_end_the_run(tmp_path):
    message = (
        r"[23] of 17 train items can't be read, more than the allowed share of 0\.1; the last: clip.*mend the data"
    )
    with pytest.raises(UserError, match=message):
        run(recipe(tmp_path, bad=[1, 2, 3]))


def test_a_batch_of_bad_items_only_is_skipped(tmp_path):
    made = recipe(tmp_path, num_items=30, bad=[6, 13], train={"budget": 9, "max_epochs": 1})
    assert run(made)["num_bad_items"] == {"train": 2}


def test_a_non_finite_step_is_skipped_and_named(tmp_path, caplog):
    made = recipe(tmp_path, nan_at=5)
    results = run(made)
    assert results["num_skipped_steps"] == 1
    entry = json.loads((tmp_path / "run" / "nonfinite.jsonl").read_text())
    assert entry == {"step": 5, "ids": list(made.module.seen[5])}
    assert f"step 5 skipped: gradient is not finite; clips: {made.module.seen[5][0]}" in caplog.text
    assert results["metrics"]["val/loss"] < 100


def test_a_streak_of_non_finite_steps_ends_the_run(tmp_path):
    with pytest.raises(UserError, match=r"3 steps in a row had a gradient that is not finite.*clips clip\d+.*--resume"):
        run(recipe(tmp_path, nan_at=0, train={"nonfinite_patience": 3}))
    assert len((tmp_path / "run" / "nonfinite.jsonl").read_text().splitlines()) == 3


def start(folder, *settings):
    command = [sys.executable, str(SCRIPT), f"runs_dir={folder}", "name=run", *settings]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False)


def test_a_dead_loader_names_its_item(tmp_path):
    ended = start(tmp_path, "dead=7", "train.num_workers=1")
    assert ended.returncode == 1
    assert "a loader process died while reading train item 7 " in ended.stderr
    assert "Traceback" not in ended.stderr.splitlines()[-1]


def test_a_stuck_loader_ends_the_process_with_stacks(tmp_path):
    ended = start(tmp_path, "stuck=7", "train.num_workers=1", "train.stall_seconds=3")
    assert ended.returncode == 1
    assert "no batch finished for 3 s" in ended.stderr
    assert "loaders were reading train item 7" in ended.stderr
    assert "Thread" in (tmp_path / "run" / "stall.txt").read_text()


def test_a_split_without_one_good_item_ends_the_run_whatever_the_share():
    items = ItemLog("train", num_items=2, max_bad_share=1.0, num_workers=0)
    items.report((BadItem(0, "a.mp4: broken"),))
    with pytest.raises(UserError, match="2 of 2 train items can't be read"):
        items.report((BadItem(1, "b.mp4: broken"),))


def test_the_watchdog_lets_a_module_work_outside_of_batches(tmp_path):
    watchdog = Watchdog(tmp_path / "stall.txt", stall_seconds=0.05)
    ended = []
    watchdog._end = ended.append
    watchdog.setup(None, None, "fit")  # a head start follows
    time.sleep(0.2)
    watchdog.on_train_start(None, None)
    watchdog.on_train_end(None, None)
    watchdog.on_test_epoch_start(None, None)
    watchdog.on_test_epoch_end(None, None)  # a language model's figures follow
    time.sleep(0.2)
    assert not ended
    watchdog.on_test_epoch_start(None, None)
    time.sleep(0.5)
    watchdog.stop()
    assert ended


HELD_LOADER = """
import tiny_recipe
from signwave.sampling import BudgetBatchSampler
from signwave.training.data import make_loader
from signwave.training.items import ItemLog

data = tiny_recipe.TinyData(200)
items = ItemLog("train", num_items=200, max_bad_share=0.1, num_workers=1)
sampler = BudgetBatchSampler(data.lengths, max_padded_length=10)
held = iter(make_loader(data, sampler, num_workers=1, seed=0, items=items))
next(held)
"""


@pytest.mark.slow
def test_a_process_that_still_holds_a_loader_can_exit():
    command = [sys.executable, "-c", HELD_LOADER]
    assert subprocess.run(command, cwd=SCRIPT.parent, timeout=90, check=False).returncode == 0
