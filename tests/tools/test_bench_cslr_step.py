"""The step benchmark at its smallest: it compares both steps, then writes what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    command = [sys.executable, str(repository / "tools/bench/bench_cslr_step.py"), "--quick", "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["name"] == "cslr_step"
    figures = document["figures"]
    assert figures["compared"]["ours_loss"] == pytest.approx(figures["compared"]["peer_loss"], rel=1e-3)
    # Deterministic: the peer's network also runs on six edge frames at either side of each clip, filled up to fours.
    assert (figures["ours"]["frames_computed"], figures["peer"]["frames_computed"]) == (16 + 9, 28 + 24)
    assert figures["ours"]["peak_mib"] < figures["peer"]["peak_mib"]
    assert all(name.startswith("CPU ") for name in document["ratio"])
