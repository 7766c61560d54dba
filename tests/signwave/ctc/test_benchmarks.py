"""The benchmarks still run, and what they compare still agrees; their times are nobody's test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ctc_decoding", "forced_alignment"])
def test_quick_run(repository: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, str(repository / f"tools/bench/bench_{name}.py"), "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["name"] == name
    assert result["ratio"]
