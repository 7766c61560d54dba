"""The command line of a recipe and what a run leaves in its folder."""

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from signwave import bundle
from signwave.errors import ConfigError, UserError
from signwave.recipe import TrainConfig, default_yaml, execute, run
from signwave.training import checkpoints
from signwave.training.loggers import read_rows

SCRIPT = Path(__file__).with_name("tiny_recipe.py")
_SPEC = importlib.util.spec_from_file_location("tiny_recipe", SCRIPT)
tiny = importlib.util.module_from_spec(_SPEC)
sys.modules["tiny_recipe"] = tiny
_SPEC.loader.exec_module(tiny)


def test_dry_run_prints_the_resolved_settings(tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text("train: {max_steps: 7}\n")
    assert execute(tiny.Tiny, [str(file), "--dry-run", "seed=5", f"runs_dir={tmp_path}"]) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert (settings["train"]["max_steps"], settings["seed"], settings["name"]) == (7, 5, "tiny_recipe")
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        execute(tiny.Tiny, ["--help"])
    assert caught.value.code == 0
    assert "example: python recipes/" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["a.yaml", "b.yaml"], ["words"], ["--unknown"]])
def test_wrong_usage_is_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        execute(tiny.Tiny, argv)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("train.max_step=3", "did you mean 'train.max_steps'?"),
        ("train.max_steps=0", "train.max_steps must be positive or null, got 0"),
        ("train.precision=16", "precision"),
        ("train.devices=0", "train.devices must be at least 1, got 0"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_1(setting, match, capsys):
    assert execute(tiny.Tiny, [setting]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert match in error


def test_options_are_not_abbreviated(capsys):
    with pytest.raises(SystemExit, match="2"):
        execute(tiny.Tiny, ["--over"])
    assert "--over" in capsys.readouterr().err


def test_a_runs_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert execute(tiny.Tiny, [f"runs_dir={tmp_path / 'file'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'file'}")
    assert error.count("\n") == 1


def test_a_run_without_an_end_is_refused(tmp_path):
    endless = tiny.Tiny(runs_dir=str(tmp_path), train=TrainConfig(budget=30))
    with pytest.raises(ConfigError, match=r"no end is given; set train\.max_steps"):
        run(endless)


def test_an_unknown_monitor_names_what_is_logged(tmp_path):
    made = tiny.Tiny(runs_dir=str(tmp_path))
    made.train = dataclasses.replace(made.train, monitor="val/wer")
    with pytest.raises(ConfigError, match=r"train\.monitor=val/wer: no such metric; logged are: .*val/loss"):
        run(made)


def test_what_a_run_leaves(tmp_path, capsys):
    assert execute(tiny.Tiny, [f"runs_dir={tmp_path}", "name=a"]) == 0
    folder = tmp_path / "a"
    assert {p.name for p in folder.iterdir()} == {
        "config.yaml", "env.json", "metrics.csv", "results.json", "report.html", "checkpoints"
    }  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["num_steps"] == 15
    assert results["num_epochs"] == 3
    assert results["num_parameters"] == 33
    assert {"val/loss", "test/loss", "train/loss"} <= set(results["metrics"])
    assert results["monitor"]["best"] == pytest.approx(results["metrics"]["val/loss"])
    assert results["environment"]["versions"]["torch"]
    assert len(checkpoints.list_steps(folder / "checkpoints")) == 2
    assert len(checkpoints.list_steps(folder / "checkpoints", prefix="best")) == 1
    rows = read_rows(folder / "metrics.csv")
    assert [row["epoch"] for row in rows if row["val/loss"]] == ["1.0", "2.0", "3.0"]
    assert any(row["train/frames_per_second"] and row["train/data_wait_share"] for row in rows)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "17 items, 5 batches an epoch, 33 parameters, 1 × cpu" in lines[0]
    assert "test/loss" in lines[1]

    assert execute(tiny.Tiny, [f"runs_dir={tmp_path}", "name=a"]) == 1
    assert "already holds a run; --resume continues it" in capsys.readouterr().err
    assert execute(tiny.Tiny, [f"runs_dir={tmp_path}", "name=a", "--overwrite", "train.max_epochs=1"]) == 0
    assert json.loads((folder / "results.json").read_text())["num_steps"] == 5


def test_the_end_is_validated_and_saved(tmp_path):
    made = tiny.Tiny(runs_dir=str(tmp_path), name="a")
    made.train = dataclasses.replace(made.train, max_steps=7, max_epochs=None, val_every_steps=4)
    run(made)
    rows = read_rows(tmp_path / "a" / "metrics.csv")
    assert [row["step"] for row in rows if row["val/loss"]] == ["3", "6"]
    assert checkpoints.load(checkpoints.latest_valid(tmp_path / "a" / "checkpoints"))["global_step"] == 7


def test_patience_and_time_limit_end_a_run(tmp_path):
    made = tiny.Tiny(runs_dir=str(tmp_path), name="patience")
    made.train = dataclasses.replace(made.train, max_epochs=50, patience=1, monitor_mode="max")
    assert run(made)["num_epochs"] < 50
    made = tiny.Tiny(runs_dir=str(tmp_path), name="minutes", step_seconds=0.01)
    made.train = dataclasses.replace(made.train, max_epochs=None, max_minutes=0.002)
    results = run(made)
    assert 0 < results["num_steps"] < 100
    assert "val/loss" in results["metrics"]


def test_tensorboard_is_an_option(tmp_path):
    made = tiny.Tiny(runs_dir=str(tmp_path), name="a")
    made.train = dataclasses.replace(made.train, max_epochs=1, tensorboard=True)
    run(made)
    assert list((tmp_path / "a" / "tensorboard").glob("events.*"))


def test_bf16_accumulation_clipping_and_max_steps(tmp_path):
    made = tiny.Tiny(runs_dir=str(tmp_path), name="a")
    made.train = dataclasses.replace(
        made.train, max_steps=4, precision="bf16-mixed", accumulate_grad_batches=3, gradient_clip=0.1
    )
    assert run(made)["num_steps"] == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends_with_its_code(tmp_path, number, code):
    command = [sys.executable, str(SCRIPT), f"runs_dir={tmp_path}", "name=a", "train.max_epochs=100000"]
    process = subprocess.Popen([*command, "train.num_workers=1"], stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "a" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == code, error
    assert "continue with --resume" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert checkpoints.latest_valid(tmp_path / "a" / "checkpoints") is not None


def test_default_yaml_lies_at_the_same_place_under_conf(tmp_path, monkeypatch):
    script = tmp_path / "recipes" / "slr" / "some.py"
    monkeypatch.setattr("signwave.recipe._script", lambda cls: script)
    assert default_yaml(tiny.Tiny) is None
    path = tmp_path / "conf" / "slr" / "some.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("seed: 1\n")
    assert default_yaml(tiny.Tiny) == path


def test_a_run_folder_with_weights_but_no_export_has_no_bundle(tmp_path):
    made = tiny.Tiny(runs_dir=str(tmp_path), name="a")
    made.train = dataclasses.replace(made.train, max_epochs=1)
    run(made)
    with pytest.raises(UserError, match="holds no bundle"):
        bundle.load(tmp_path / "a")


@pytest.mark.parametrize("name", ["../other", "a/b", "..", "."])
def test_a_run_lies_in_its_folder(tmp_path, name, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "other").mkdir()
    assert execute(tiny.Tiny, [f"runs_dir={tmp_path / 'runs'}", f"name={name}", "--overwrite"]) == 1
    assert "must be the plain name of a folder" in capsys.readouterr().err
    assert (tmp_path / "other").is_dir()
