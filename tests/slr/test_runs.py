"""Trainings of a study: run once, resumed, refused for other settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signwave.errors import ArtefactError, UserError
from slr.training.runs import Runner, Training

SCRIPT = """
import json, pathlib, sys
words = dict(text.split("=", 1) for text in sys.argv[1:] if "=" in text)
folder = pathlib.Path(words["runs_dir"]) / words["name"]
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").write_text("x: 1")
with open(folder / "calls", "a") as file:
    file.write("resumed\\n" if "--resume" in sys.argv else "begun\\n")
if words.get("dies") == "yes" and "--resume" not in sys.argv:
    print("out of luck")
    sys.exit(9)
(folder / "results.json").write_text(json.dumps(words))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.py"
    path.write_text(SCRIPT)
    return path


def _calls(runner: Runner, name: str) -> list[str]:
    return (runner.path(name) / "calls").read_text().split()


def test_a_finished_training_is_not_run_again(tmp_path: Path, script: Path) -> None:
    runner = Runner(tmp_path / "runs")
    first = Training("first", script, ("seed=1",), {"clips": "a1"})
    second = Training("second", script, ("seed=1",), after=first)
    heard: list[tuple[str, int, int]] = []
    for _ in range(2):
        runner.run_all([second], tell=lambda training, done, total: heard.append((training.name, done, total)))
    assert _calls(runner, "first") == _calls(runner, "second") == ["begun"]
    assert heard == [("second", 1, 1)] * 2
    assert json.loads((runner.path("second") / "results.json").read_text())["seed"] == "1"


def test_a_training_that_ended_early_goes_on(tmp_path: Path, script: Path) -> None:
    runner, training = Runner(tmp_path / "runs"), Training("a", script, ("dies=yes",))
    with pytest.raises(UserError, match=r"a: ended with code 9 \(out of luck\)"):
        runner.run(training)
    runner.run(training)
    assert _calls(runner, "a") == ["begun", "resumed"]


def test_other_settings_or_inputs_are_refused(tmp_path: Path, script: Path) -> None:
    runner = Runner(tmp_path / "runs")
    runner.run(Training("a", script, ("seed=1",), {"clips": "a1"}))
    with pytest.raises(ArtefactError, match="a run with other settings;"):
        runner.run(Training("a", script, ("seed=2",), {"clips": "a1"}))
    with pytest.raises(ArtefactError, match="a run with other inputs;"):
        runner.run(Training("a", script, ("seed=1",), {"clips": "b2"}))


def test_a_failure_among_several_is_told_and_the_finished_stay(tmp_path: Path, script: Path) -> None:
    runner = Runner(tmp_path / "runs", num_jobs=2)
    good, bad = Training("good", script, ()), Training("bad", script, ("dies=yes",))
    with pytest.raises(UserError, match="bad: ended with code 9"):
        runner.run_all([good, bad], tell=lambda *_: None)
    assert _calls(runner, "good") == ["begun"]


def test_a_training_that_outlives_its_study_is_not_started_twice(tmp_path: Path) -> None:
    """The study is killed, its training isn't: only when that has ended does the next study go on, with --resume."""
    script = tmp_path / "slow.py"
    wait = 'import os, time\nif "--resume" not in sys.argv:\n    (folder / "pid").write_text(str(os.getpid()))\n'
    script.write_text(SCRIPT.replace("if words.get", wait + "    time.sleep(60)\nif words.get"))
    study = (
        "import pathlib, sys; from slr.training.runs import Runner, Training\n"
        "Runner(pathlib.Path(sys.argv[1])).run(Training('a', pathlib.Path(sys.argv[2]), ()))"
    )
    runner = Runner(tmp_path / "runs")
    first = subprocess.Popen([sys.executable, "-c", study, str(runner.folder), str(script)])
    pid = runner.path("a") / "pid"
    while not (pid.is_file() and pid.read_text()):
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    try:
        with pytest.raises(UserError, match="still trains, from a study that was ended"):
            runner.run(Training("a", script, ()))
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    for _ in range(100):  # the kernel drops the lock once the process is gone
        try:
            runner.run(Training("a", script, ()))
            break
        except UserError:
            time.sleep(0.05)
    assert _calls(runner, "a") == ["begun", "resumed"]
