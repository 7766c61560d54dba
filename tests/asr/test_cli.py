"""The command as a stranger meets it: help, version, usage errors, quick start, doctor, the Python names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import asr
from asr import cli

COMMANDS = ("prepare", "transcribe", "score", "doctor")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["asr", *arguments])
    return cli.main()


def test_help_lists_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
    assert "python recipes/asr/NAME.py" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, command, "--help") == 0
    text = capsys.readouterr().out
    assert f"Examples:\n    asr {command}" in text


def test_version_and_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("signwave ")
    assert run(monkeypatch, "transcribe", "--no-such-option") == 2
    assert "no-such-option" in capsys.readouterr().err
    assert run(monkeypatch, "no-such-command") == 2
    assert run(monkeypatch, "transcribe", "-q", "-v", "-m", "x", "y.wav") == 1
    assert "contradict each other" in capsys.readouterr().err


def test_help_imports_nothing_heavy(repository: Path) -> None:
    heavy = ("torch", "numpy", "transformers", "pytorch_lightning", "matplotlib", "faiss", "av", "soundfile", "rich")
    code = f"import sys, asr.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "[]"


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(monkeypatch, "doctor", "--json")
    result = json.loads(capsys.readouterr().out)
    assert code == (0 if result["usable"] else 1)
    assert {"python", "torch", "torch trio", "runs folder"} <= {check["name"] for check in result["checks"]}
    run(monkeypatch, "doctor")
    assert "python" in capsys.readouterr().out


def test_python_names() -> None:
    assert [getattr(asr, name).__name__ for name in asr.__all__] == asr.__all__
    with pytest.raises(AttributeError, match="module 'asr' has no attribute 'recognizer'; it has Recognizer"):
        asr.recognizer  # noqa: B018
