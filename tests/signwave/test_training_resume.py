"""An interrupted and resumed run ends with the same bits as an uninterrupted one."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from signwave.recipe import run
from signwave.training import checkpoints
from signwave.training.guards import Interrupted
from signwave.training.loggers import read_rows

_SPEC = importlib.util.spec_from_file_location("tiny_recipe", Path(__file__).with_name("tiny_recipe.py"))
tiny = importlib.util.module_from_spec(_SPEC)
sys.modules["tiny_recipe"] = tiny
_SPEC.loader.exec_module(tiny)


def recipe(folder, name="run", **options):
    train = options.pop("train", {})
    made = tiny.Tiny(name=name, runs_dir=str(folder), **options)
    return dataclasses.replace(made, train=dataclasses.replace(made.train, **train))


def final_state(folder, name):
    path = checkpoints.latest_valid(folder / name / "checkpoints")
    return checkpoints.load(path)


def assert_same(one, two):
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    first, second = one["optimizer_states"][0]["state"], two["optimizer_states"][0]["state"]
    for key, state in first.items():
        assert all(torch.equal(value, second[key][name]) for name, value in state.items())
    assert one["lr_schedulers"] == two["lr_schedulers"]


def uninterrupted(folder, train):
    made = recipe(folder, "whole", train=train)
    results = run(made)
    return final_state(folder, "whole"), made.module.seen, results


TRAINS = [
    pytest.param({}, id="validation every epoch"),
    pytest.param({"val_every_steps": 3}, id="validation in the middle"),
    pytest.param({"accumulate_grad_batches": 2, "max_epochs": 4}, id="accumulation"),
]


@pytest.mark.parametrize("train", TRAINS)
@pytest.mark.parametrize("at", [0, 4, 8, 14])
def test_resume_after_a_signal_is_exact(tmp_path, train, at):
    check_cut(tmp_path, train, at, *uninterrupted(tmp_path, train))


@pytest.mark.slow
@pytest.mark.parametrize("train", TRAINS)
def test_resume_after_a_signal_is_exact_at_every_batch(tmp_path, train):
    whole, seen, results = uninterrupted(tmp_path, train)
    for at in range(len(seen)):
        check_cut(tmp_path, train, at, whole, seen, results)


def check_cut(folder, train, at, whole, seen, results):
    name = f"cut{at}"
    cut = recipe(folder, name, signal_at=at, train=train)
    with pytest.raises(Interrupted, match=r"SIGTERM; saved in .* continue with --resume") as caught:
        run(cut)
    assert caught.value.exit_code == 143
    resumed = recipe(folder, name, train=train)
    again = run(resumed, resume=True)
    assert cut.module.seen + resumed.module.seen == seen
    assert_same(whole, final_state(folder, name))
    assert _same_figures(again, results)
    assert again["monitor"] == results["monitor"]
    # the signal cuts off the log row of its own step, nothing else
    assert len(set(steps(folder, "whole")) - set(steps(folder, name))) <= 1
    assert steps(folder, name) == sorted(set(steps(folder, name)))


def _same_figures(one, two):
    first, second = one["metrics"], two["metrics"]
    names = [name for name in sorted(first | second) if not name.startswith("train/")]
    return [first.get(name) for name in names] == [second.get(name) for name in names]


def steps(folder, name):
    return [int(row["step"]) for row in read_rows(folder / name / "metrics.csv")]


@pytest.mark.parametrize("at", [4, 7])
def test_resume_after_a_crash_is_exact(tmp_path, at):
    whole, _, _ = uninterrupted(tmp_path, {})
    with pytest.raises(RuntimeError, match="on purpose"):
        run(recipe(tmp_path, crash_at=at))
    run(recipe(tmp_path), resume=True)
    assert_same(whole, final_state(tmp_path, "run"))


@pytest.mark.parametrize("at", [7])
def test_resume_is_exact_with_loader_workers(tmp_path, at):
    whole, seen, _ = uninterrupted(tmp_path, {})
    cut = recipe(tmp_path, signal_at=at, train={"num_workers": 2})
    with pytest.raises(Interrupted):
        run(cut)
    resumed = recipe(tmp_path, train={"num_workers": 2})
    run(resumed, resume=True)
    assert cut.module.seen + resumed.module.seen == seen
    assert_same(whole, final_state(tmp_path, "run"))


def test_a_signal_during_validation_waits_for_its_end(tmp_path):
    whole, seen, results = uninterrupted(tmp_path, {})
    cut = recipe(tmp_path, signal_in_validation=True)
    with pytest.raises(Interrupted):
        run(cut)
    resumed = recipe(tmp_path)
    again = run(resumed, resume=True)
    assert cut.module.seen + resumed.module.seen == seen
    assert_same(whole, final_state(tmp_path, "run"))
    assert _same_figures(again, results)


def test_two_resumes_in_a_row(tmp_path):
    whole, _, _ = uninterrupted(tmp_path, {})
    for at in (2, 8):
        with pytest.raises(Interrupted):
            run(recipe(tmp_path, signal_at=at), resume=at > 2)
    run(recipe(tmp_path), resume=True)
    assert_same(whole, final_state(tmp_path, "run"))


def test_resume_of_a_finished_run_gives_its_results(tmp_path, capsys):
    results = run(recipe(tmp_path))
    assert run(recipe(tmp_path), resume=True) == results
    assert "already finished" in capsys.readouterr().err
