"""Each kind of model learns made-up signers, and its alignments lie where the signs are. Hours of one CPU core."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from signwave import bundle, manifest
from signwave.ctc import align
from signwave.sampling import Draw
from slr.model_loading import build_model, needs_of
from slr.models.interface import first_edge_frames
from slr.training.data import ClipDataset

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
    start(repository / "tools" / "make_sign_corpus.py", "raw", folder=folder)
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
        assert np.median(boundary_errors(run, corpus)) <= MOST_FRAMES


def boundary_errors(run: Path, corpus: Path) -> list[float]:
    """Frames between each end of an aligned sign and where it was drawn, over the test clips."""
    stored = bundle.load(run)
    model = build_model(stored).eval()
    drawn: dict[str, list[tuple[int, int]]] = {}
    for line in (corpus / BASE / "annotations" / "automatic" / "times.jsonl").read_text().splitlines():
        row = json.loads(line)
        drawn.setdefault(row["clip"], []).append((row["start_frame"], row["end_frame"]))
    clips = list(manifest.read(corpus / "data" / "test.jsonl.gz"))
    assert stored.vocabulary is not None
    dataset = ClipDataset(
        clips, vocabulary=stored.vocabulary, needs=needs_of(stored, model, float(stored.info["rate_hz"]))
    )
    edge = first_edge_frames(model, model.stride)
    errors: list[float] = []
    for index in range(len(dataset)):
        batch = dataset.collate([dataset[Draw(index, 0)]])
        encoded = model(batch.inputs, batch.num_frames)
        (found,) = align(encoded.log_probs.detach(), encoded.num_steps, batch.labels, batch.num_labels)
        for (start_frame, end_frame), (first, stop) in zip(drawn[batch.ids[0]], found.steps, strict=True):
            errors += [abs(first * model.stride + edge - start_frame), abs(stop * model.stride + edge - end_frame)]
    return errors
