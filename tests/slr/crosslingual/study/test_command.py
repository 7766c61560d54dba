"""The whole pipeline in one command: stages, controls, results, and nothing done twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from slr.crosslingual.study.conditions import CONTROLS, LABELS

CONDITIONS = (*CONTROLS, "truth")


@pytest.fixture(scope="module")
def pair(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prepared made-up languages of six signs each, five of them shared, and the truth."""
    pytest.importorskip("pose_format")
    root = tmp_path_factory.mktemp("pair")
    sizes = ["--num-glosses", "6", "--num-train", "8,12", "--num-dev", "2", "--num-test", "3", "--num-signers", "2"]
    make = [str(repository / "tools" / "make_sign_corpus.py"), str(root / "raw")]
    _run(*make, "--languages", "2", "--shared", "0.8", *sizes)
    slr = ("-c", "import sys; from slr.cli import main; sys.exit(main())")
    for name in ("language1", "language2"):
        poses = root / "raw" / name / "phoenix-2014-multisigner" / "poses"
        _run(*slr, "prepare", "phoenix2014", str(root / "raw" / name), str(root / name), "--poses", str(poses), "-q")
    return root


def _run(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_study_runs_every_control_and_does_nothing_twice(repository: Path, pair: Path) -> None:
    study = str(repository / "recipes" / "slr" / "crosslingual_study.py")
    truth = str(pair / "raw" / "shared_signs.tsv")
    one_thread = ("--set", "train.num_threads=1", "--set", "train.accelerator=cpu", "--islr-set", "train.num_threads=1")
    words = [
        study, str(pair / "language1"), str(pair / "language2"), "--truth", truth, "--out", str(pair / "study"),
        "--results", str(pair), "--name", "found", "--quick", "--seeds", "2", "--conditions", ",".join(CONDITIONS),
        "--min-agreement", "1", "--max-gap", "9", *one_thread,
    ]  # fmt: skip
    told = _run(*words)
    found = json.loads((pair / "found.json").read_text())
    assert set(found["conditions"]) == set(CONDITIONS)
    assert {len(one["test_wer"]) for one in found["conditions"].values()} == {2}
    assert [(one["first"], one["second"]) for one in found["contrasts"]] == [
        ("mapped", name) for name in CONDITIONS if name != "mapped"
    ]
    assert found["mapping"]["of_all"]["num_tokens"] == found["mapping"]["language2"]["num_tokens"] > 0
    table = (pair / "found.md").read_text()
    assert all(LABELS[name] in table for name in CONDITIONS)
    assert (pair / "found.png").read_bytes().startswith(b"\x89PNG")
    assert "stage 4: the mapping" in told
    before = {path: path.stat().st_mtime_ns for path in (pair / "study").rglob("*") if path.suffix in (".ckpt", ".tsv")}
    again = _run(*words)
    assert "it was there already" in again
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((pair / "found.json").read_text())["conditions"] == found["conditions"]


def test_wrong_folders_end_with_one_line(repository: Path, tmp_path: Path) -> None:
    study = str(repository / "recipes" / "slr" / "crosslingual_study.py")
    told = _run(study, str(tmp_path / "nowhere"), str(tmp_path), "--out", str(tmp_path / "s"), code=1)
    assert "nowhere: no such folder" in told.splitlines()[-1]
    told = _run(study, str(tmp_path), str(tmp_path), "--conditions", "magic", code=1)
    assert "'magic' is unknown; allowed are target" in told.splitlines()[-1]
