"""The benchmark of pretraining at its smallest: it compares before it measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "pretraining.json"
    command = [sys.executable, str(repository / "tools/bench/bench_pretraining.py"), "--quick", "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text(encoding="utf-8"))
    assert max(document["figures"]["compared"].values()) < 1e-5
    # Counted, not timed: the peer multiplies one-hot vectors with the codebook for every frame.
    peak = document["figures"]["objective"]["peer"]["peak_mib"]
    assert peak > 2 * 149 * 640 * 384 * 4 / 2**20
    assert document["ratio"]["objective peak_mib ours/peer"] < 1 / 20
