"""Atomic writes and environment facts."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signwave import rundir
from signwave.errors import ArtefactError

WRITER = """
import sys
from signwave.rundir import atomic_write
n = 0
while True:
    n += 1
    atomic_write(sys.argv[1], str(n % 10) * 300_000)
    if n == 1:
        print("ready", flush=True)
"""


def test_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "value.txt"
    for delay_seconds in (0.01, 0.02, 0.03, 0.05):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = target.read_text()
        assert len(content) == 300_000
        assert len(set(content)) == 1
    rundir.sweep_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    rundir.atomic_write(target, "old")
    with pytest.raises(RuntimeError), rundir.atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_written_file_has_the_usual_mode(tmp_path: Path) -> None:
    rundir.atomic_write(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    rundir.write_json(tmp_path / "a.json", {"wer": 0.25, "name": "ä"})
    assert rundir.read_json(tmp_path / "a.json") == {"wer": 0.25, "name": "ä"}
    with pytest.raises(ValueError, match="Out of range float"):
        rundir.write_json(tmp_path / "b.json", {"wer": float("nan")})
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"c\.json: not valid JSON"):
        rundir.read_json(tmp_path / "c.json")
    with pytest.raises(ArtefactError, match=r"d\.json: No such file"):
        rundir.read_json(tmp_path / "d.json")


def test_environment_is_plain_and_names_no_one() -> None:
    text = json.dumps(rundir.environment())
    assert str(Path.home()) not in text
    assert "torch" in text
