"""Checkpoints: plain data only, whole or absent, the newest valid one is found; nothing survives that runs code."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.errors import ArtefactError, UserError
from signwave.training import checkpoints

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(value=VALUES)
def test_plain_values_load_without_running_code(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("c") / "step-1.ckpt"
    checkpoints.save(path, {"value": value})
    assert torch.load(path, weights_only=True) == {"value": value}
    assert checkpoints.load(path) == {"value": value}


def test_near_plain_values_become_plain(tmp_path):
    given_state = {
        "a": OrderedDict(x=np.float64(1.5)),
        "b": (np.int64(3), np.array([1, 2])),
        "c": Path("here"),
        "d": torch.nn.Parameter(torch.ones(2)),
    }
    checkpoints.save(tmp_path / "step-1.ckpt", given_state)
    state = checkpoints.load(tmp_path / "step-1.ckpt")
    assert type(state["a"]) is dict
    assert type(state["a"]["x"]) is float
    assert (state["b"][0], state["b"][1].tolist(), state["c"]) == (3, [1, 2], "here")
    assert type(state["d"]) is torch.Tensor


@pytest.mark.parametrize("value", [object(), lambda: 0, {1, 2}, OrderedDict, 1j, np.array(["x"])])
def test_anything_else_is_refused_by_place(tmp_path, value):
    with pytest.raises(TypeError, match=r"checkpoint\.outer\[1\] is a .*plain values only"):
        checkpoints.save(tmp_path / "step-1.ckpt", {"outer": [0, value]})
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "step-1.ckpt"
    torch.save({"state": Payload()}, path)
    checkpoints.sidecar(path).write_text(f"{checkpoints.sha256_file(path)}  {path.name}\n")
    with pytest.raises(ArtefactError, match="can't be read"):
        checkpoints.load(path)
    with pytest.raises(ArtefactError, match="can't be read"):
        checkpoints.SafeCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not (tmp_path / "ran").exists()


def write_three(folder):
    for step in (9, 10, 11):
        checkpoints.save(folder / f"step-{step}.ckpt", {"step": step})


@pytest.mark.parametrize("damage", ["flip", "truncate", "no sidecar", "empty"])
def test_the_newest_valid_one_is_found(tmp_path, damage):
    write_three(tmp_path)
    newest = tmp_path / "step-11.ckpt"
    assert checkpoints.latest_valid(tmp_path) == newest
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "truncate":
        newest.write_bytes(content[:-10])
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        checkpoints.sidecar(newest).unlink()
    assert checkpoints.latest_valid(tmp_path) == tmp_path / "step-10.ckpt"
    with pytest.raises(ArtefactError, match="differs from its checksum file; use an older"):
        checkpoints.load(newest)


def test_prune_keeps_the_newest_and_other_kinds(tmp_path):
    write_three(tmp_path)
    checkpoints.save(tmp_path / "best-9.ckpt", {})
    (tmp_path / "notes.ckpt").write_text("mine")
    checkpoints.prune(tmp_path, prefix="step", keep=2)
    names = sorted(p.name for p in tmp_path.glob("*.ckpt"))
    assert names == ["best-9.ckpt", "notes.ckpt", "step-10.ckpt", "step-11.ckpt"]
    assert len(list(tmp_path.glob("*.sha256"))) == 3


def test_prune_counts_valid_ones_only(tmp_path):
    write_three(tmp_path)
    checkpoints.sidecar(tmp_path / "step-11.ckpt").unlink()
    checkpoints.prune(tmp_path, prefix="step", keep=1)
    assert checkpoints.latest_valid(tmp_path) == tmp_path / "step-10.ckpt"


def test_prune_keeps_what_was_just_written_beside_a_damaged_later_one(tmp_path):
    """A run that went on from an older checkpoint writes lower numbers than the damaged one it passed over."""
    checkpoints.save(tmp_path / "best-000000100.ckpt", {})
    (tmp_path / "best-000000100.ckpt").write_bytes(b"")
    newest = tmp_path / "best-000000095.ckpt"
    checkpoints.save(newest, {})
    checkpoints.prune(tmp_path, prefix="best", keep=1, newest=newest)
    assert checkpoints.latest_valid(tmp_path, prefix="best") == newest


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoints.latest_valid(tmp_path) is None
    assert checkpoints.latest_valid(tmp_path / "missing") is None
    with pytest.raises(ArtefactError, match="no such checkpoint"):
        checkpoints.load(tmp_path / "step-1.ckpt")


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_old_ones_and_no_rubbish(tmp_path, monkeypatch, failing):
    checkpoints.save(tmp_path / "step-1.ckpt", {"a": 1})

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"write": (torch, "save"), "fsync": (os, "fsync"), "replace": (os, "replace")}[failing], fail)
    with pytest.raises(UserError, match=r"can't write the checkpoint .*No space left.* MB are free.*--resume"):
        checkpoints.save(tmp_path / "step-2.ckpt", {"a": torch.zeros(1000)})
    monkeypatch.undo()
    assert checkpoints.latest_valid(tmp_path) == tmp_path / "step-1.ckpt"
    assert not list(tmp_path.glob(".tmp-*"))


def _kill_loop(folder, num_kills):
    """Kill a training run again and again; it must always continue from where a valid checkpoint stands."""
    script = Path(__file__).with_name("tiny_recipe.py")
    command = [
        sys.executable,
        str(script),
        f"runs_dir={folder}",
        "name=run",
        "train.max_epochs=100000",
        "num_items=2000",
    ]
    command += ["train.val_every_steps=7", "--resume"]
    rng, reached, last = random.Random(0), [], -1
    for _ in range(num_kills):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            newest = [
                path
                for path in checkpoints.list_steps(folder / "run" / "checkpoints")
                if checkpoints.sidecar(path).exists()
            ]
            if newest and int(newest[0].stem[5:]) > last:
                break
            time.sleep(0.02)
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = checkpoints.latest_valid(folder / "run" / "checkpoints")
        assert found is not None, process.stderr.read()
        state = checkpoints.load(found)
        last = int(found.stem[5:])
        assert state["global_step"] == last
        reached.append(last)
    assert reached == sorted(reached)
    assert reached[-1] > reached[0]
    assert len(list((folder / "run" / "checkpoints").glob(".tmp-*"))) <= 1


@pytest.mark.slow
def test_kill_9_never_leaves_a_run_without_a_valid_checkpoint(tmp_path):
    _kill_loop(tmp_path, 25)


def test_kill_9_while_saving(tmp_path):
    """The same without the cost of starting a trainer: a process that saves without pause is killed ten times."""
    rng = random.Random(1)
    for kill in range(10):
        child = os.fork()
        if child == 0:
            step = kill * 100_000
            while True:
                step += 1
                checkpoints.save(tmp_path / f"step-{step:09d}.ckpt", {"step": step, "weights": torch.zeros(20_000)})
                checkpoints.prune(tmp_path, prefix="step", keep=2)
        time.sleep(0.05 + rng.random() * 0.1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = checkpoints.latest_valid(tmp_path)
        if found is not None:
            assert checkpoints.load(found)["step"] == int(found.stem[5:])
    assert found is not None
    checkpoints.sweep_temporaries(tmp_path)
    assert not list(tmp_path.glob(".tmp-*"))
    assert len(list(tmp_path.glob("step-*.ckpt"))) <= 13
