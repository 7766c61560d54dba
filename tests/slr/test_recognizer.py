"""From a bundle to glosses with times: files that work, files that don't, and the command around it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from signwave import bundle, command
from signwave.errors import ArtefactError, MediaError
from signwave.text import Vocabulary
from slr import cli
from slr.infer import Recognizer
from slr.models.pose_conv import PoseConvConfig

VOCABULARY = Vocabulary(("<blank>", "A", "B"))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder whose untrained model says A wherever it looks."""
    torch.manual_seed(0)
    config = PoseConvConfig(dim=8)
    model = config.build(vocab_size=3)
    with torch.no_grad():
        model.output.bias += torch.tensor([0.0, 9.0, 0.0])
    settings = {**asdict(config), "vocab_size": 3}
    info = {"name": "tiny", "rate_hz": 25.0, "stride": 4}
    folder = tmp_path / "run" / "bundle"
    bundle.save(folder, kind="slr.pose_conv", model=model, config=settings, vocabulary=VOCABULARY, info=info)
    return tmp_path / "run"


def test_times_are_those_of_the_file(run_dir: Path, tmp_path: Path, write_pose) -> None:
    recognizer = Recognizer.load(run_dir, device="cpu")
    path = write_pose(tmp_path / "a.pose", [1, 2], fps=50.0)  # 0.4 s, 10 frames at the model's rate, 3 steps
    whole = recognizer(path)
    assert whole.text == "A"
    assert whole.status == "ok"
    assert whole.duration_seconds == pytest.approx(0.4)
    assert (whole.words[0].start_seconds, whole.words[0].end_seconds) == (0.0, pytest.approx(0.4))
    assert 0.9 < whole.words[0].score <= 1.0
    part = recognizer(path, start_seconds=0.2)
    assert (part.words[0].start_seconds, part.words[0].end_seconds) == (0.2, pytest.approx(0.4))
    again = Recognizer.load(run_dir / "bundle", device="cpu")(path)
    assert again == whole
    assert json.loads(json.dumps(whole.to_dict()))["segments"][0]["words"][0]["w"] == "A"


def test_no_hand_is_an_empty_result_with_a_warning(run_dir: Path, tmp_path: Path, write_pose) -> None:
    found = Recognizer.load(run_dir, device="cpu")(write_pose(tmp_path / "n.pose", [1], seen=False))
    assert found.status == "empty"
    assert found.duration_seconds == pytest.approx(0.4)
    assert "no hand" in found.warnings[0]


def test_a_video_gets_one_line_of_advice(run_dir: Path) -> None:
    with pytest.raises(MediaError, match=r"clip\.MP4: is a video, and this model reads poses; extract them first"):
        Recognizer.load(run_dir, device="cpu")("clip.MP4")


def test_other_models_are_refused(run_dir: Path, tmp_path: Path) -> None:
    bundle.save(tmp_path / "other", kind="asr.ctc", model=torch.nn.Linear(1, 1), config={})
    with pytest.raises(ArtefactError, match=r"a model of kind 'asr\.ctc', not 'slr\.pose_conv'"):
        Recognizer.load(tmp_path / "other", device="cpu")
    content = bundle.load(run_dir)
    model = PoseConvConfig(dim=8).build(vocab_size=3)
    wrong = {**content.config, "dim": 16}
    bundle.save(
        tmp_path / "wrong", kind="slr.pose_conv", model=model, config=wrong, vocabulary=VOCABULARY, info=content.info
    )
    with pytest.raises(ArtefactError, match="its weights don't fit its config"):
        Recognizer.load(tmp_path / "wrong", device="cpu")


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["slr", *map(str, arguments)])
    return cli.main()


def test_recognize_names_what_failed_and_does_the_rest(run_dir, tmp_path, write_pose, monkeypatch, capsys) -> None:
    good = write_pose(tmp_path / "good.pose", [1, 2])
    empty = write_pose(tmp_path / "empty.pose", [1], seen=False)
    (tmp_path / "bad.pose").write_bytes(b"no")
    out = tmp_path / "out"
    inputs = [good, empty, tmp_path / "bad.pose", tmp_path / "gone.pose"]
    arguments = ["recognize", "--model", run_dir, *inputs, "--device", "cpu"]
    assert run_cli(monkeypatch, *arguments, "--json") == command.EXIT_SOME_FAILED
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert [record["status"] for record in document["records"]] == ["ok", "empty", "failed", "failed"]
    assert document["records"][3]["error"]["kind"] == "missing"
    assert document["model"]["name"] == "tiny"
    assert "failed: " in shown.err
    assert "1 ok, 1 empty, 2 failed" in shown.err
    assert run_cli(monkeypatch, *arguments, "--out", out, "--format", "txt,ctm") == command.EXIT_SOME_FAILED
    assert sorted(p.name for p in out.iterdir()) == ["empty.ctm", "empty.txt", "good.ctm", "good.txt"]
    (out / "good.txt").write_text("kept")
    capsys.readouterr()
    again = ["recognize", "--model", run_dir, good, "--out", out, "--format", "txt", "--skip-existing"]
    assert run_cli(monkeypatch, *again) == command.EXIT_DONE
    assert (out / "good.txt").read_text() == "kept"
    assert "1 skipped" in capsys.readouterr().err
    assert run_cli(monkeypatch, "recognize", "--model", run_dir, tmp_path / "bad.pose") == command.EXIT_FAILED


def test_recognize_reads_a_pipe_and_skips_what_is_unchanged(run_dir, tmp_path, write_pose, monkeypatch, capsys) -> None:
    content = write_pose(tmp_path / "deep" / "good.pose", [1, 2]).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run_cli(monkeypatch, "recognize", "--model", run_dir, "-", "--format", "jsonl", "-q") == command.EXIT_DONE
    record = json.loads(capsys.readouterr().out)
    assert (record["file"], record["text"], record["model"]["name"]) == ("-", "A", "tiny")
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert {"duration", "rtf", "segments", "language", "schema_version"} <= record.keys()
    arguments = ["recognize", "--model", run_dir, tmp_path, "-o", tmp_path / "out", "-f", "json,vtt", "--skip-existing"]
    for expected in ("1 ok", "1 skipped"):
        assert run_cli(monkeypatch, *arguments) == command.EXIT_DONE
        assert expected in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == ["good.json", "good.vtt"]
    write_pose(tmp_path / "deep" / "good.pose", [1, 2, 3])
    assert run_cli(monkeypatch, *arguments, "--dry-run") == command.EXIT_DONE
    assert (
        capsys.readouterr().out
        == f"{tmp_path}/deep/good.pose -> {tmp_path}/out/deep/good.json {tmp_path}/out/deep/good.vtt\n"
    )


def test_wrong_use_is_one_line(run_dir, tmp_path, write_pose, monkeypatch, capsys) -> None:
    good = write_pose(tmp_path / "good.pose", [1])
    assert run_cli(monkeypatch, "recognize", "--model", run_dir, good, "--format", "doc") == command.EXIT_FAILED
    assert "--format doc: unknown; allowed are txt, json" in capsys.readouterr().err
    assert run_cli(monkeypatch, "recognize", "--model", run_dir, good, "--skip-existing") == command.EXIT_USAGE
    assert run_cli(monkeypatch, "recognize", "--model", tmp_path / "none", good) == command.EXIT_FAILED
    assert run_cli(monkeypatch, "prepare", "nothing", tmp_path, tmp_path / "o") == command.EXIT_FAILED
    assert "no corpus 'nothing'; allowed are fingerspelling, poses, videos" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.pose").write_bytes(good.read_bytes())
    both = ["recognize", "--model", run_dir, good, tmp_path / "a" / "good.pose", "--out", tmp_path / "o"]
    assert run_cli(monkeypatch, *both) == command.EXIT_FAILED
    assert "would both be written to good.pose; give their common folder" in capsys.readouterr().err


def test_prepare_and_doctor(tmp_path, write_pose, monkeypatch, capsys) -> None:
    write_pose(tmp_path / "raw" / "good.pose", [1])
    arguments = ["prepare", "poses", tmp_path / "raw", tmp_path / "out", "--json", "-q"]
    assert run_cli(monkeypatch, *arguments) == command.EXIT_DONE
    assert json.loads(capsys.readouterr().out)["num_clips"] == 1
    assert (tmp_path / "out" / "all.jsonl.gz").is_file()
    assert run_cli(monkeypatch, "doctor", "--json") in (command.EXIT_DONE, command.EXIT_FAILED)
    assert {"usable", "checks"} <= json.loads(capsys.readouterr().out).keys()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, slr.cli; heavy = {'torch', 'pytorch_lightning', 'transformers', 'matplotlib', 'faiss', 'numpy'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
