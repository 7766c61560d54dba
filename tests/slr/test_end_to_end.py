"""From a corpus as released to a scored answer, by the commands that a user types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pose_format")

CORPUS = ["--num-glosses", "3", "--num-train", "16", "--num-dev", "4", "--num-test", "4", "--num-signers", "2"]
MODEL = ["model.dim=32", "model.group_dim=16", "model.num_heads=2", "model.num_blocks=1"]
TRAINING = ["train.max_steps=60", "train.val_every_steps=60", "train.num_threads=1", "train.progress_bar=false"]


def start(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_prepare_recipe_recognize_score(tmp_path: Path, repository: Path) -> None:
    slr = ("-c", "import sys; from slr.cli import main; sys.exit(main())")
    base = Path("raw/phoenix-2014-multisigner")
    start(repository / "tools" / "make_sign_corpus.py", "raw", *CORPUS, folder=tmp_path)
    start(*slr, "prepare", "phoenix2014", "raw", "data", "--poses", base / "poses", "-q", folder=tmp_path)
    recipe = repository / "recipes" / "slr" / "signers_keypoints.py"
    start(recipe, "data.manifest_dir=data", *MODEL, *TRAINING, folder=tmp_path)
    run = tmp_path / "runs" / "signers_keypoints"
    figures = json.loads((run / "results.json").read_text())["figures"]["test"]["official-p14"]

    clips, table = base / "poses" / "test", base / "annotations" / "manual" / "test.corpus.csv"
    start(*slr, "recognize", "--model", run, clips, "--out", "glosses", "--format", "ctm", "-q", folder=tmp_path)
    scored = start(*slr, "score", "glosses", table, "--protocol", "official-p14", "--json", folder=tmp_path)
    again = json.loads(scored.stdout)
    for name in ("wer", "num_reference_tokens", "substitutions", "deletions", "insertions"):
        assert again[name] == figures[name]
    by_run = start(*slr, "score", run, "--protocol", "official-p14", "--json", folder=tmp_path)
    assert json.loads(by_run.stdout)["wer"] == figures["wer"]
    assert figures["num_sentences"] == 4
    compared = start(*slr, "compare", run, run, "--json", folder=tmp_path)
    assert json.loads(compared.stdout)["difference"] == 0
