"""Every recipe, found by glob: its YAML loads and holds differences only, --dry-run works, --smoke trains two steps."""

import ast
import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slr.training.corpus import CorpusConfig

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = sorted(
    path for path in REPOSITORY.glob("recipes/*/*.py") if not path.stem.endswith("_study") and path.stem[0] != "_"
)
IDS = [f"{path.parent.name}/{path.stem}" for path in RECIPES]
each_recipe = pytest.mark.parametrize("script", RECIPES, ids=IDS)


@pytest.fixture
def start(monkeypatch, capsys):
    """Run a script as `python SCRIPT ARGUMENTS` does, in this process: starting torch once a recipe takes minutes."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, shown.out, shown.err)

    return run


def conf(script):
    return REPOSITORY / "conf" / script.parent.name / f"{script.stem}.yaml"


def test_recipes_and_settings_come_in_pairs():
    stems = {f"{path.parent.name}/{path.stem}" for path in REPOSITORY.glob("conf/*/*.yaml")}
    assert set(IDS) - stems == set(), "recipes without conf/SIDE/STEM.yaml"
    assert {name for name in stems if not name.endswith("_study")} - set(IDS) == set(), "settings without a recipe"


@each_recipe
def test_recipe_says_what_it_trains(script):
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    assert docstring, f"{script.name} needs a docstring: data, model, loss, result, hardware, time"
    assert f"python recipes/{script.parent.name}/{script.name}" in docstring


@each_recipe
def test_dry_run_resolves_and_settings_are_differences(script, tmp_path, start):
    ended = start(script, "--dry-run")
    assert ended.returncode == 0, ended.stderr
    resolved = yaml.safe_load(ended.stdout)
    assert resolved["name"]
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    defaults = yaml.safe_load(start(script, str(empty), "--dry-run").stdout)
    repeated = [
        name for name, value in flat(yaml.safe_load(conf(script).read_text()) or {}) if value == at(defaults, name)
    ]
    assert repeated == [], f"{conf(script).name} repeats defaults"


def flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def at(values, name):
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


@each_recipe
def test_smoke_trains_two_steps(script, tmp_path, start):
    ended = start(script, "--smoke", f"runs_dir={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    results = json.loads((folder / "results.json").read_text())
    assert 1 <= results["num_steps"] <= 2
    assert results["num_skipped_steps"] == 0
    assert (folder / "metrics.csv").read_text().count("\n") >= 2


def test_toy_recipe_learns(tmp_path):
    """The template reaches WER 0 on made-up signs, from the command line to the bundle."""
    command = [sys.executable, str(REPOSITORY / "recipes" / "slr" / "toy_ctc.py"), f"runs_dir={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "toy_ctc" / "results.json").read_text())
    assert results["metrics"]["test/wer"] <= 0.02
    assert (tmp_path / "toy_ctc" / "bundle" / "model.safetensors").is_file()


@pytest.mark.parametrize("corpus", ["phoenix2014", "phoenix2014t", "csl_daily", "ce_csl", "isharah"])
def test_clips_keep_the_rate_of_their_corpus(corpus):
    released = importlib.import_module(f"slr.datasets.{corpus}").RATE_HZ
    files = sorted((REPOSITORY / "conf" / "slr").glob(f"{corpus}_*.yaml"))
    assert files
    for file in files:
        if file.stem.endswith("_retrieval"):  # its features say their rate
            continue
        data = yaml.safe_load(file.read_text()).get("data", {})
        assert data.get("rate_hz", CorpusConfig().rate_hz) == released, file.name
