"""`asr transcribe` and `asr score` from the command line: formats, exit codes, bad files, resuming after kill -9."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import asr as public
from asr import cli
from signwave.media.video import write_video

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch, tone_recognizer: Any) -> Run:
    """Run the command with these arguments and the tone model; gives the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        return cli.main()

    return run


def test_text_goes_to_stdout_and_talk_to_stderr(asr: Run, say_to: Callable[..., Path], capsys: Capture) -> None:
    assert asr("transcribe", "-m", "runs/x", say_to("a.wav", "hello you")) == 0
    captured = capsys.readouterr()
    assert captured.out == "hello you\n"
    assert "1 ok" in captured.err
    assert asr("transcribe", "-m", "runs/x", say_to("a.wav", "hello you"), "-q") == 0
    assert capsys.readouterr().err == ""


def test_several_files_are_told_apart(asr: Run, say_to: Callable[..., Path], capsys: Capture) -> None:
    first, second = say_to("a.wav", "one"), say_to("b.wav", "two")
    assert asr("transcribe", "-m", "x", first, second) == 0
    assert capsys.readouterr().out == f"{first}\tone\n{second}\ttwo\n"
    assert asr("transcribe", "-m", "x", first, second, "-f", "jsonl") == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]


def test_files_of_every_format_go_to_the_folder(asr: Run, say_to: Callable[..., Path], tmp_path: Path) -> None:
    say_to("in/talk.wav", "hello you")
    say_to("in/deep/talk.wav", "bye")
    out = tmp_path / "out"
    assert asr("transcribe", "-m", "x", tmp_path / "in", "-o", out, "-f", "txt,json", "--format", "srt", "-q") == 0
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "deep/talk.json", "deep/talk.srt", "deep/talk.txt", "talk.json", "talk.srt", "talk.txt",
    ]  # fmt: skip
    assert (out / "deep" / "talk.txt").read_text() == "bye\n"


def test_one_json_document(asr: Run, say_to: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    good, bad = say_to("a.wav", "hello you"), tmp_path / "bad.wav"
    bad.write_bytes(b"nothing like audio")
    assert asr("transcribe", "-m", "x", good, bad, "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["num_ok"], document["num_failed"]) == (1, 1)
    record, failed = document["records"]
    assert record["model"] == document["model"] == {"name": "tone", "sha": "0" * 64}
    assert len(record["sha256"]) == 64
    assert record["segments"][0]["words"][1]["w"] == "you"
    assert (failed["status"], failed["error"]["kind"]) == ("failed", "unreadable")
    assert str(bad) in failed["error"]["message"]


def test_exit_codes(asr: Run, say_to: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    good, silent, absent = say_to("a.wav", "hello"), tmp_path / "zero.wav", tmp_path / "absent.wav"
    silent.write_bytes(b"")
    assert asr("transcribe", "-m", "x", silent) == 0  # nothing said is a result
    assert asr("transcribe", "-m", "x", good, silent, absent) == 3
    assert asr("transcribe", "-m", "x", absent) == 1
    assert "absent.wav: does not exist" in capsys.readouterr().err
    assert asr("transcribe", "-m", "x", absent, good, "--fail-fast") == 1
    assert capsys.readouterr().out == ""
    assert asr("transcribe", good) == 2
    assert asr("transcribe", "-m", "x", good, "--skip-existing") == 2
    assert asr("transcribe", "-m", "x", good, "-f", "docx") == 2
    assert asr("transcribe", "-m", "x", good, good.parent / "zero.wav", "-f", "srt") == 1
    assert "needs --out DIR" in capsys.readouterr().err


def test_names_that_are_no_files_are_refused(asr: Run, capsys: Capture) -> None:
    for name in ("http://localhost/a.wav", "concat:a.wav|b.wav", "/dev/zero"):
        assert asr("transcribe", "-m", "x", name) == 1
        assert "failed: " in capsys.readouterr().err


def test_a_video_without_sound_is_a_named_error(asr: Run, tmp_path: Path, capsys: Capture) -> None:
    video = write_video(tmp_path / "silent.mp4", np.zeros((8, 3, 64, 64), np.uint8), fps=25)
    assert asr("transcribe", "-m", "x", video, "--json") == 1
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert record["error"]["kind"] == "no_stream"
    assert "has no audio track" in record["error"]["message"]


def test_stdin_is_an_input(
    asr: Run, say_to: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(say_to("a.wav", "from a pipe").read_bytes())))
    assert asr("transcribe", "-m", "x", "-", "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert (record["file"], record["text"]) == ("-", "from a pipe")


def test_skip_existing_looks_at_the_requested_formats_and_the_bytes(
    asr: Run, say_to: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    out, file = tmp_path / "out", say_to("a.wav", "first")
    again = ("transcribe", "-m", "x", file, "-o", out, "--skip-existing", "--json")

    def status(*formats: str) -> str:
        capsys.readouterr()
        assert asr(*again, *formats) == 0
        return str(json.loads(capsys.readouterr().out)["records"][0]["status"])

    assert status("-f", "txt") == "ok"
    assert status("-f", "txt") == "skipped"
    assert status("-f", "txt,json") == "ok"
    assert status("-f", "json") == "skipped"
    say_to("a.wav", "second take")
    assert status("-f", "json") == "ok"
    assert json.loads((out / "a.json").read_text())["text"] == "second take"
    (out / "a.json").write_text('{"half": ')
    assert status("-f", "json") == "ok"


def test_dry_run_loads_no_model(asr: Run, say_to: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    file = say_to("a.wav", "x")
    assert asr("transcribe", "-m", "absent", file, "-o", tmp_path / "out", "-f", "srt,txt", "-n") == 0
    assert capsys.readouterr().out == f"{file} -> {tmp_path}/out/a.srt {tmp_path}/out/a.txt\n"
    assert not (tmp_path / "out").exists()


def test_long_files_say_how_far_they_are(
    asr: Run, say_to: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("asr.medium.SAY_EVERY_SECONDS", 0.0)
    file = say_to("long.wav", "words and " * 50)
    assert asr("transcribe", "-m", "x", file) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "of audio done" in line]
    assert len(lines) >= 2
    assert lines[0] == f"{file}: 18 s of audio done"
    assert asr("transcribe", "-m", "x", file, "-q") == 0
    assert capsys.readouterr().err == ""


SLOW_COMMAND = """
import sys, time
sys.path.insert(0, {tests!r})
from conftest import ToneModel
from asr.infer import Recognizer
from asr import cli

class Slow(ToneModel):
    def log_probs(self, audio_batch):
        time.sleep(0.15)
        return super().log_probs(audio_batch)

Recognizer.load = lambda *_, **__: Recognizer(Slow(), batch_size=1)
sys.argv = ["asr", "transcribe", "-m", "x", *{arguments!r}]
sys.exit(cli.main())
"""


def start_slow(*arguments: object) -> "subprocess.Popen[str]":
    # A suite started in the background inherits "ignore SIGINT"; the command under test must not.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += SLOW_COMMAND.format(tests=str(Path(__file__).parent), arguments=[str(a) for a in arguments])
    environment = {**os.environ, "PYTHONPATH": str(Path(public.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for(pattern: str, folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob(pattern))) < count and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_killed_run_leaves_whole_files_and_goes_on_where_it_stopped(
    say_to: Callable[..., Path], tmp_path: Path, ending: signal.Signals, code: int
) -> None:
    num_files, out = 12, tmp_path / "out"
    for i in range(num_files):
        say_to(f"in/{i:02d}.wav", "some words here " * 4 + "abcdefghijkl"[i])
    arguments = (tmp_path / "in", "-o", out, "-f", "json,srt", "--skip-existing", "--json")
    process = start_slow(*arguments)
    wait_for("*.srt", out, 2, process)
    process.send_signal(ending)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    whole = [json.loads(path.read_text()) for path in out.glob("*.json")]
    assert 2 <= len(whole) < num_files
    (out / ".tmp-03.json-abc").write_text("begun")  # as a kill in the middle of a write leaves it
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.srt")}

    process = start_slow(*arguments)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    records = json.loads(output)
    assert records["num_skipped"] == len([p for p in done if p.with_suffix(".json").exists()])
    assert records["num_skipped"] + records["num_ok"] == num_files
    assert len(list(out.glob("*.json"))) == len(list(out.glob("*.srt"))) == num_files
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert not list(out.glob(".tmp-*"))


def test_score_of_what_transcribe_wrote(asr: Run, say_to: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    for name, text in (("a", "hello you there"), ("b", "good bye"), ("c", "more")):
        say_to(f"in/{name}.wav", text)
    references = {"a": "hello you there", "b": "good by", "c": "more", "d": "not heard"}
    (tmp_path / "ref").mkdir()
    for name, text in references.items():
        (tmp_path / "ref" / f"{name}.txt").write_text(text)
    assert asr("transcribe", "-m", "x", tmp_path / "in", "-o", tmp_path / "out", "-f", "json", "-q") == 0
    assert asr("score", tmp_path / "out", tmp_path / "ref", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["substitutions"], result["deletions"], result["insertions"]) == (1, 2, 0)
    assert result["wer"] == pytest.approx(3 / 8)
    assert (result["num_reference_tokens"], result["num_missing"], result["missing"]) == (8, 1, ["d"])
    low, high = result["interval_95"]
    assert 0 <= low <= result["wer"] <= high
    assert 0 < result["cer"] < result["wer"]
    assert asr("score", tmp_path / "out", tmp_path / "ref") == 0
    text = capsys.readouterr().out
    assert "WER 37.50%" in text
    assert "1 without a hypothesis count as empty, such as d" in text


def test_score_reads_lines_documents_and_manifests(asr: Run, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "ref.txt").write_text("یک دو\nسه\n")
    (tmp_path / "hyp.txt").write_text("يك دو\nسه\n")  # Arabic letters for Persian ones
    assert asr("score", tmp_path / "hyp.txt", tmp_path / "ref.txt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["substitutions"] == 1
    assert asr("score", tmp_path / "hyp.txt", tmp_path / "ref.txt", "--language", "fa", "--json") == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 0
    clip = {"id": "1", "path": "x/a.wav", "kind": "audio", "text": "one two"}
    (tmp_path / "m.jsonl").write_text(json.dumps(clip) + "\n")
    (tmp_path / "all.json").write_text(json.dumps({"records": [{"file": "b/a.mp3", "text": "one too"}]}))
    assert asr("score", tmp_path / "all.json", tmp_path / "m.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 0.5
    (tmp_path / "other.json").write_text(json.dumps({"records": [{"file": "z.mp3", "text": "one too"}]}))
    assert asr("score", tmp_path / "other.json", tmp_path / "m.jsonl") == 1
    assert "names none of the 1 recordings" in capsys.readouterr().err
    (tmp_path / "mute.jsonl").write_text(json.dumps(clip | {"text": ""}) + "\n")
    assert asr("score", tmp_path / "all.json", tmp_path / "mute.jsonl") == 1
    assert "none of its 1 recordings has a text" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("{")
    assert asr("score", tmp_path / "bad.json", tmp_path / "m.jsonl") == 1
    assert asr("score", tmp_path / "absent.txt", tmp_path / "m.jsonl") == 1
