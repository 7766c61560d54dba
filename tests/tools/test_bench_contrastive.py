"""The benchmark of the contrastive loss at its smallest: it compares before it measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "contrastive.json"
    command = [sys.executable, str(repository / "tools/bench/bench_contrastive.py"), "--quick", "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text(encoding="utf-8"))
    figures = document["figures"]
    assert max(figures["compared"].values()) < 1e-5
    # Counted without being computed, so the same on every machine: the peer holds six tensors of 2.2 GB and more.
    live = figures["batch_512_live_tensors_mib"]
    assert live["peer"] > 6 * 512 * 512 * 65 * 32 * 4 / 2**20
    assert document["ratio"]["live tensors of batch 512 ours_released/peer"] < 1 / 8
