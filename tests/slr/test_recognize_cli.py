"""`slr recognize` from the command line: every input, every format, wrong use, pictures, streams, resuming."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from signwave import bundle, command
from signwave.ctc import NgramLm
from signwave.text import Vocabulary
from slr import cli
from slr.models.pose_conv import PoseConvConfig

sys.path.insert(0, str(Path(__file__).parent))
TINY = importlib.import_module("tiny_signs")
VOCABULARY = Vocabulary(("<blank>", "A", "B"))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder whose untrained model of poses says A wherever it looks."""
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


@pytest.fixture
def tiny_dir(tmp_path: Path) -> Path:
    """A run folder with a tiny model of frames."""
    return TINY.save_tiny(tmp_path / "tiny")


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
    assert run_cli(monkeypatch, "recognize", "--model", run_dir, good, "--format", "doc") == command.EXIT_USAGE
    assert "--format doc: unknown; allowed are txt, json" in capsys.readouterr().err
    assert run_cli(monkeypatch, "recognize", "--model", run_dir, good, "--skip-existing") == command.EXIT_USAGE
    assert run_cli(monkeypatch, "recognize", "--model", tmp_path / "none", good) == command.EXIT_FAILED
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.pose").write_bytes(good.read_bytes())
    both = ["recognize", "--model", run_dir, good, tmp_path / "a" / "good.pose", "--out", tmp_path / "o"]
    assert run_cli(monkeypatch, *both) == command.EXIT_FAILED
    assert "would both be written to good.pose; give their common folder" in capsys.readouterr().err


def test_folders_give_the_clips_that_the_model_reads(run_dir, tiny_dir, tmp_path, write_pose, monkeypatch, capsys):
    clips = tmp_path / "clips"
    TINY.write_moving(clips / "a.mp4", 30)
    TINY.write_moving(clips / "b" / "c.MP4", 30).rename(clips / "b" / "c.mkv")
    write_pose(clips / "a.pose", [1])
    frames = clips / "d" / "frames"
    frames.mkdir(parents=True)
    from PIL import Image

    for number, picture in enumerate(TINY.moving(20)):
        Image.fromarray(picture.transpose(1, 2, 0)).save(frames / f"{number:03}.png")
    Image.new("RGB", (9, 9)).save(clips / "cover.png")  # beside clips: no clip of its own

    def planned(model: Path, *inputs: Path) -> list[str]:
        assert run_cli(monkeypatch, "recognize", "-m", model, *inputs, "-o", tmp_path / "o", "-n") == command.EXIT_DONE
        return [line.rpartition(f"{tmp_path}/o/")[2] for line in capsys.readouterr().out.splitlines()]

    assert planned(tiny_dir, clips) == ["a.txt", "b/c.txt", "d/frames.txt"]
    assert planned(run_dir, clips) == ["a.txt", "b/c.txt"]  # a.pose stands for a.mp4
    assert planned(tiny_dir, frames, clips / "a.mp4") == ["frames.txt", "a.txt"]
    done = ["recognize", "-m", tiny_dir, clips, "-o", tmp_path / "out", "-f", "json,eaf", "--skip-existing"]
    assert run_cli(monkeypatch, *done) == command.EXIT_DONE
    assert "3 ok" in capsys.readouterr().err
    assert run_cli(monkeypatch, *done) == command.EXIT_DONE
    assert "3 skipped" in capsys.readouterr().err
    (frames / "019.png").unlink()  # other frames: another clip
    assert run_cli(monkeypatch, *done) == command.EXIT_DONE
    assert "1 ok, 2 skipped" in capsys.readouterr().err


def test_archives_name_their_results_by_the_member(tiny_dir, tmp_path, monkeypatch, capsys):
    import zipfile

    clip = TINY.write_moving(tmp_path / "clip.mp4", 30)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(clip, "x/one.mp4")
        archive.write(clip, "x/two.mp4")
    members = [f"{tmp_path}/all.zip::x/one.mp4", f"{tmp_path}/all.zip::x/two.mp4"]
    done = ["recognize", "-m", tiny_dir, *members, "-o", tmp_path / "o", "-f", "json", "-q", "--skip-existing"]
    assert run_cli(monkeypatch, *done) == command.EXIT_DONE
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["one.json", "two.json"]
    assert json.loads((tmp_path / "o" / "one.json").read_text())["sha256"]
    assert run_cli(monkeypatch, *done[:-2], "--skip-existing") == command.EXIT_DONE
    assert "2 skipped" in capsys.readouterr().err


def test_every_format_and_a_picture_for_each_clip(tiny_dir, tmp_path, monkeypatch, capsys):
    TINY.write_moving(tmp_path / "in" / "a.mp4", 60)
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no")
    every = "txt,json,jsonl,srt,vtt,tsv,ctm,eaf,textgrid"
    done = ["recognize", "-m", tiny_dir, tmp_path / "in", "-o", tmp_path / "o", "-f", every, "--picture"]
    assert run_cli(monkeypatch, *done) == command.EXIT_SOME_FAILED
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == sorted(f"a.{name}" for name in [*every.split(","), "png"])
    assert (tmp_path / "o" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "../in/a.mp4" in (tmp_path / "o" / "a.eaf").read_text()
    (tmp_path / "in" / "bad.mp4").unlink()
    assert run_cli(monkeypatch, *done, "--skip-existing") == command.EXIT_DONE
    (tmp_path / "o" / "a.png").unlink()
    capsys.readouterr()
    assert run_cli(monkeypatch, *done, "--skip-existing") == command.EXIT_DONE
    assert "1 ok" in capsys.readouterr().err
    assert (tmp_path / "o" / "a.png").is_file()


def test_a_stream_prints_lines_and_its_latency(tiny_dir, tmp_path, monkeypatch, capsys):
    clip = TINY.write_moving(tmp_path / "clip.mp4", 200)
    stream = ["recognize", "-m", tiny_dir, "--stream", "--window-seconds", "2", "--lookahead-seconds", "0.5"]
    assert run_cli(monkeypatch, *stream, clip) == command.EXIT_DONE
    shown = capsys.readouterr()
    rows = [line.split("\t") for line in shown.out.splitlines()]
    assert len(rows) > 3
    assert all(float(start) < float(end) and 0 < float(score) <= 1 for start, end, _, score in rows)
    assert "algorithmic latency 0.88 s on average, at most 1.12 s; as exact as one pass" in shown.err
    assert "x real time" in shown.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(clip.read_bytes())))
    assert run_cli(monkeypatch, *stream, "-", "--json", "-o", tmp_path / "o", "-f", "txt,eaf") == command.EXIT_DONE
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert record["text"].split() == [row[2] for row in rows]
    assert record["stream"] == {
        "window": 1.92, "hop": 0.48, "lookahead": 0.48, "latency_mean": 0.88, "latency_max": 1.12, "exact": True,
    }  # fmt: skip
    assert (tmp_path / "o" / "stdin.txt").read_text().split() == record["text"].split()


def test_a_beam_with_a_language_model_and_n_best(tiny_dir, tmp_path, monkeypatch, capsys):
    clip, lm = TINY.write_moving(tmp_path / "clip.mp4", 60), tmp_path / "lm.arpa"
    NgramLm.train([["A", "B", "C", "D"]], order=2).write_arpa(lm)
    search = ["recognize", "-m", tiny_dir, clip, "--lm", lm, "--lm-weight", "2", "--beam", "8", "--n-best", "3"]
    assert run_cli(monkeypatch, *search, "--json", "-q") == command.EXIT_DONE
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert len(record["n_best"][0]["hypotheses"]) == 3
    assert record["n_best"][0]["hypotheses"][0]["lm_score"] < 0
    assert run_cli(monkeypatch, *search[:-2], "--stream", "-q") == command.EXIT_DONE
    assert capsys.readouterr().out


USAGE, FAILED = command.EXIT_USAGE, command.EXIT_FAILED


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--format", "doc"], USAGE, "--format doc: unknown; allowed are txt"),
        (["--format", "txt,pdf"], USAGE, "--format pdf: unknown"),
        (["--format", ","], USAGE, "names no format"),
        (["--beam", "0"], USAGE, "Invalid value for '--"),
        (["--beam", "many"], USAGE, "Invalid value for '--"),
        (["--beam", "2", "--n-best", "5"], FAILED, "--n-best 5: --beam 2 keeps fewer"),
        (["--n-best", "0"], USAGE, "Invalid value for '--"),
        (["--n-best", "x"], USAGE, "Invalid value for '--"),
        (["--lm", "gone.arpa"], FAILED, "gone.arpa: no such language model"),
        (["--lm", "."], FAILED, "no such language model"),
        (["--lm", "junk.arpa"], FAILED, "junk.arpa"),
        (["--lm-weight", "1"], FAILED, "there is no language model; give --lm"),
        (["--lm-weight", "-1"], USAGE, "Invalid value for '--"),
        (["--lm-weight", "nan", "--lm", "good.arpa"], USAGE, "Invalid value for '--"),
        (["--spans", "wide"], USAGE, "wide: unknown; allowed are alignment, grown"),
        (["--spans", ""], USAGE, "unknown; allowed are alignment, grown"),
        (["--spans", "grown", "--stream"], USAGE, "is for whole clips"),
        (["--picture"], USAGE, "needs --out DIR"),
        (["--picture", "--stream", "--out", "o"], USAGE, "is for whole clips"),
        (["--window-seconds", "0.1"], FAILED, "--window-seconds 0.1: this model needs at least"),
        (["--window-seconds", "-1"], USAGE, "Invalid value for '--"),
        (["--window-seconds", "nan"], USAGE, "Invalid value for '--"),
        (["--window-seconds", "inf"], USAGE, "Invalid value for '--"),
        (["--window-seconds", "601", "--stream"], FAILED, "at most 600 s"),
        (["--hop-seconds", "inf", "--stream"], USAGE, "Invalid value for '--"),
        (["--hop-seconds", "1"], USAGE, "is for streams; add --stream"),
        (["--hop-seconds", "0", "--stream"], FAILED, "--hop-seconds 0"),
        (["--hop-seconds", "9", "--stream"], FAILED, "must hold hop and look-ahead"),
        (["--lookahead-seconds", "1"], USAGE, "is for streams; add --stream"),
        (["--lookahead-seconds", "-1", "--stream"], USAGE, "Invalid value for '--"),
        (["--lookahead-seconds", "5", "--stream"], FAILED, "must hold hop and look-ahead"),
        (["--n-best", "2", "--stream"], USAGE, "is for whole clips"),
        (["--device", "tpu"], FAILED, "--device tpu: unknown"),
        (["--device", "cuda:x"], FAILED, "--device cuda:x"),
    ],
)
def test_wrong_options_are_one_line(options, code, text, tiny_dir, tmp_path, monkeypatch, capsys):
    clip = TINY.write_moving(tmp_path / "clip.mp4", 12)
    monkeypatch.chdir(tmp_path)
    Path("junk.arpa").write_text("no model")
    NgramLm.train([["A"]], order=1).write_arpa("good.arpa")
    assert run_cli(monkeypatch, "recognize", "-m", tiny_dir, clip, *options) == code
    shown = capsys.readouterr()
    assert text in " ".join(shown.err.split())
    assert shown.out == ""
    if code == FAILED:
        assert shown.err.count("\n") == 1
