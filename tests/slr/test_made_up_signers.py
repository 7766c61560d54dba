"""Each kind of model learns made-up signers, and its alignments lie where the signs are. Hours of one CPU core."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slr.training.drawn_times import boundary_errors

pytestmark = pytest.mark.slow
BASE = Path("raw/phoenix-2014-multisigner")
MOST_ERRORS = 0.05
MOST_FRAMES = 2.0


def start(*command: object, folder: Path) -> None:
    done = subprocess.run([sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder with raw/ and data/, frames of 64 × 80 packed and keypoints beside them."""
    folder = tmp_path_factory.mktemp("signers")
    start(repository / "tools" / "make_sign_corpus.py", "raw", "--num-train", 400, folder=folder)
    slr = ("-c", "import sys; from slr.cli import main; sys.exit(main())")
    options = ("--poses", BASE / "poses", "--pack", "video", "--size", "80x64", "-q")
    start(*slr, "prepare", "phoenix2014", "raw", "data", *options, folder=folder)
    return folder


@pytest.mark.parametrize("model", ["keypoints", "resnet", "corrnet", "s3d"])
def test_the_model_learns(model: str, corpus: Path, repository: Path) -> None:
    recipe = repository / "recipes" / "slr" / f"signers_{model}.py"
    start(recipe, "data.manifest_dir=data", "train.num_threads=1", "train.progress_bar=false", folder=corpus)
    run = corpus / "runs" / f"signers_{model}"
    figures = json.loads((run / "results.json").read_text())["figures"]
    assert figures["dev"]["official-p14"]["wer"] < MOST_ERRORS
    assert figures["test"]["official-p14"]["wer"] < MOST_ERRORS
    if model == "keypoints":  # it sees no further than a sign; a BiLSTM sees the whole clip, and its peaks may wander
        errors = boundary_errors(run, corpus / "data" / "test.jsonl.gz", corpus / "raw")
        assert np.median(errors) <= MOST_FRAMES
