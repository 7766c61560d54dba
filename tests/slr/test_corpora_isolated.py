"""WLASL, AUTSL and ASL Citizen: small copies of their layouts with videos made here."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from signwave import command, manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.media.video import write_video
from signwave.prepare import PrepareReport, run_prepare
from slr import cli
from slr.crosslingual.signs import load_signs
from slr.datasets import asl_citizen, autsl, wlasl

YOUTUBE = "https://www.youtube.com/watch?v=-d5dN54tH_E"


def _video(path: Path, num_frames: int, *, fps: float = 25.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, np.zeros((num_frames, 3, 16, 16), dtype=np.uint8), fps=fps)


def _prepare(module: ModuleType, raw: Path, out: Path, **options: Any) -> tuple[PrepareReport, dict[str, Clip]]:
    report = run_prepare(module.prepare(raw, **options), out, check=module.check, show_progress=False)
    clips = {clip.id: clip for split in report.splits for clip in manifest.read(out / f"{split}.jsonl.gz")}
    return report, clips


def _instance(video_id: str, **values: Any) -> dict[str, Any]:
    usual = {
        "bbox": [0, 0, 16, 16], "fps": 25, "frame_end": -1, "frame_start": 1, "instance_id": 0, "signer_id": 118,
        "source": "aslbrick", "split": "train", "url": "http://aslbricks.org/New/book.mp4", "variation_id": 0,
    }  # fmt: skip
    return {**usual, "video_id": video_id, **values}


def _wlasl(base: Path, entries: object) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    (base / "WLASL_v0.3.json").write_text(json.dumps(entries, indent=4))
    return base


def test_wlasl(tmp_path: Path) -> None:
    spanned = {"url": YOUTUBE, "frame_start": 6, "frame_end": 15, "signer_id": 7, "source": "youtube"}
    entries = [
        {"gloss": "book", "instances": [_instance("69241"), _instance("07068", split="val", **spanned)]},
        {"gloss": "don't want", "instances": [_instance("07069", split="test", **spanned), _instance("07070")]},
    ]
    base = _wlasl(tmp_path / "WLASL" / "start_kit", entries)
    _video(base / "videos" / "69241.mp4", 12, fps=30)
    _video(base / "videos" / "07068.mp4", 10)
    _video(base / "raw_videos_mp4" / "-d5dN54tH_E.mp4", 40)
    _video(base / "raw_videos_mp4" / "69241.mp4", 30)
    report, clips = _prepare(wlasl, tmp_path / "WLASL", tmp_path / "out")
    assert [problem.kind for problem in report.problems] == ["missing"]
    assert report.exit_code == command.EXIT_SOME_FAILED
    assert report.problems[0].where.endswith("WLASL_v0.3.json:[1].instances[1]")
    first, cut, whole = clips["69241"], clips["07068"], clips["07069"]
    assert (first.text, first.num_frames, first.rate_hz, first.group) == ("book", 12, 30.0, "")
    assert (first.person, first.language, first.split, first.captions) == ("118", "ase", "train", {"en": "book"})
    assert (cut.start_seconds, cut.end_seconds, cut.num_frames, cut.split) == (0.0, None, 10, "val")
    assert (whole.text, whole.captions) == ("don't-want", {"en": "don't want"})
    assert (whole.start_seconds, whole.end_seconds, whole.num_frames) == (0.2, 0.6, 10), "both ends belong to the sign"
    assert cut.group == whole.group == "-d5dN54tH_E", "signs of one recording"
    assert len(load_signs(tmp_path / "out" / "train.jsonl.gz").signs) == 1


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (_instance("../../etc/passwd"), "no name of a clip"),
        (_instance(""), "no name of a clip"),
        (_instance("1", split="dev"), "of split 'dev'; allowed are train, val, test"),
        (_instance("1", frame_start=0), "correct them"),
        (_instance("1", frame_start=5, frame_end=4), "correct them"),
        (_instance("1", frame_end="all"), "correct them"),
        (_instance("1", fps=0), "correct them"),
        (["1"], "no instance with a video_id"),
    ],
)
def test_wlasl_instances_that_are_wrong(instance: object, message: str, tmp_path: Path) -> None:
    base = _wlasl(tmp_path, [{"gloss": "book", "instances": [instance, _instance("2")]}, {"gloss": " "}, 3])
    _video(base / "1.mp4", 5)
    _video(base / "2.mp4", 5)
    report, clips = _prepare(wlasl, base, tmp_path / "out")
    assert message in report.problems[0].reason
    assert [problem.kind for problem in report.problems] == ["invalid", "label", "label"]
    assert set(clips) == {"2"}, "the rest is taken"


def test_wlasl_spans_past_the_end(tmp_path: Path) -> None:
    base = _wlasl(tmp_path, [{"gloss": "a", "instances": [_instance("1", url=YOUTUBE, frame_start=90, frame_end=99)]}])
    _video(base / "-d5dN54tH_E.mp4", 20)
    report, clips = _prepare(wlasl, base, tmp_path / "out")
    assert not clips
    assert "holds no frame" in report.problems[0].reason


def test_wlasl_lists_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no WLASL_v0\.3\.json or start_kit"):
        list(wlasl.prepare(tmp_path))
    for content, message in (("[{", "as JSON"), ("{}", "no list of glosses"), ("[" * 100_000, "as JSON")):
        (tmp_path / "WLASL_v0.3.json").write_text(content)
        with pytest.raises(UserError, match=message):
            list(wlasl.prepare(tmp_path))
    with pytest.raises(UserError, match="allowed are 100, 300, 1000, 2000"):
        list(wlasl.prepare(tmp_path, subset="50"))


def test_wlasl_subsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    base = _wlasl(tmp_path / "raw", [{"gloss": f"g{n}", "instances": [_instance(f"{n:05d}")]} for n in range(120)])
    for number in (3, 110):
        _video(base / "videos" / f"{number:05d}.mp4", 3)

    def slr(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["slr", *map(str, arguments)])
        return command.run(cli.app)

    assert slr("prepare", "wlasl", base, tmp_path / "out", "--subset", 100, "--json", "-q") == 3
    report = json.loads(capsys.readouterr().out)
    assert report["problem_counts"] == {"missing": 99}
    assert "train: 1 clips, but 1442 are published" in report["warnings"]
    assert [clip.text for clip in manifest.read(tmp_path / "out" / "train.jsonl.gz")] == ["g3"]
    assert slr("prepare", "wlasl", base, tmp_path / "all", "-q") == 3
    assert "train: 2 clips, but 14289 are published" in capsys.readouterr().out
    assert slr("prepare", "wlasl", base, tmp_path / "out", "--subset", 50) == command.EXIT_USAGE
    assert slr("prepare", "autsl", base, tmp_path / "out", "--subset", 100) == command.EXIT_USAGE
    assert "this corpus has no parts" in " ".join(capsys.readouterr().err.split())


def _autsl(base: Path, train: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    (base / "SignList_ClassId_TR_EN.csv").write_text("ClassId,TR,EN\n0,abla,sister\n1,hoş geldin,welcome\n")
    (base / "train_labels.csv").write_text(train)
    return base


def test_autsl(tmp_path: Path) -> None:
    base = _autsl(tmp_path / "AUTSL", "signer0_sample1,0\nsigner3_sample22,1\nsigner3_sample9,1\n")
    (base / "val").mkdir()
    (base / "val" / "ground_truth.csv").write_text("signer1_sample1,0\r\n")
    _video(base / "train" / "signer0_sample1_color.mp4", 10, fps=30)
    _video(base / "train" / "signer0_sample1_depth.mp4", 10, fps=30)
    _video(base / "train" / "signer3_sample22_color.mp4", 9, fps=30)
    _video(base / "val" / "signer1_sample1_color.mp4", 8, fps=30)
    report, clips = _prepare(autsl, base / "train", tmp_path / "out")
    assert [(problem.kind, problem.where.rsplit(":", 1)[1]) for problem in report.problems] == [("missing", "3")]
    clip = clips["signer3_sample22"]
    assert (clip.text, clip.captions) == ("hoş-geldin", {"tr": "hoş geldin", "en": "welcome"})
    assert (clip.person, clip.language, clip.split, clip.num_frames) == ("signer3", "tsm", "train", 9)
    assert (clips["signer1_sample1"].split, clips["signer0_sample1"].num_frames) == ("val", 10)


def test_autsl_rows_that_are_wrong(tmp_path: Path) -> None:
    train = "signer0_sample1,2\n../signer0_sample1,0\nsigner0_sample1\n\nsigner0_sample1,x\nsigner0_sample2,0\n"
    base = _autsl(tmp_path, train)
    for number in (1, 2):
        _video(base / f"signer0_sample{number}_color.mp4", 4)
    report, clips = _prepare(autsl, base, tmp_path / "out")
    assert [problem.where.rsplit(":", 1)[1] for problem in report.problems] == ["1", "2", "3", "5"]
    assert [problem.kind for problem in report.problems] == ["invalid", "invalid", "fields", "invalid"]
    assert "'2' is no class of SignList_ClassId_TR_EN.csv" in report.problems[0].reason
    assert set(clips) == {"signer0_sample2"}


def test_autsl_tables_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no train_labels\.csv"):
        list(autsl.prepare(tmp_path))
    base = _autsl(tmp_path, "signer0_sample1,0\n")
    signs = base / "SignList_ClassId_TR_EN.csv"
    for content, message in (
        ("ClassId,Turkish\n0,abla\n", "has no column 'TR'"),
        ("ClassId,TR,EN\n0,abla,sister\n0,acele,hurry\n", r":3: class '0' with the word 'acele'"),
        ("ClassId,TR,EN\nzero,abla,sister\n", "class 'zero'"),
        ("ClassId,TR,EN\n0,abla\n", "2 fields under 3 columns"),
    ):
        signs.write_text(content)
        with pytest.raises(UserError, match=message):
            list(autsl.prepare(base))
    signs.unlink()
    with pytest.raises(UserError, match="it names the signs"):
        list(autsl.prepare(base))
    _autsl(base, "")
    (base / "train_labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="can't be read as a table"):
        list(autsl.prepare(base))


def test_asl_citizen(tmp_path: Path) -> None:
    base = tmp_path / "ASL_Citizen"
    (base / "splits").mkdir(parents=True)
    rows = [
        "Participant ID,Video file,Gloss,ASL-LEX Code",
        "P35,11562742429028061-REMEMBER.mp4,REMEMBER2,C_02_014",
        "P1,4.7299129501965353e-7-seedSOUR.mp4,SOUR ,D_01_001",
        'P1,012-ONE.mp4,"ONE, TWO",D_01_002',
        "P1,gone.mp4,GONE,D_01_003",
        "P1,../../secret.mp4,GONE,D_01_003",
        "P1,012-ONE.mp4,,D_01_003",
        "P1,012-ONE.mp4,TOO,MANY,FIELDS",
    ]
    (base / "splits" / "test.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    for name in ("11562742429028061-REMEMBER", "4.7299129501965353e-7-seedSOUR", "012-ONE"):
        _video(base / "videos" / f"{name}.mp4", 7, fps=30)
    report, clips = _prepare(asl_citizen, tmp_path, tmp_path / "out")
    assert [(problem.where.rsplit(":", 1)[1], problem.kind) for problem in report.problems] == [
        *(("5", "missing"), ("6", "invalid"), ("7", "label"), ("8", "fields")),
    ]
    clip = clips["11562742429028061-REMEMBER"]
    assert (clip.text, clip.person, clip.split, clip.language) == ("REMEMBER2", "P35", "test", "ase")
    assert (clips["4.7299129501965353e-7-seedSOUR"].text, clips["012-ONE"].text) == ("SOUR", "ONE,-TWO")
    assert {sign.gloss for sign in load_signs(tmp_path / "out" / "test.jsonl.gz").signs} == {
        *("REMEMBER2", "SOUR", "ONE,-TWO"),
    }


def test_asl_citizen_tables_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no splits/train\.csv"):
        list(asl_citizen.prepare(tmp_path))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.csv").write_text("Participant ID,Video file,ASL-LEX Code\n")
    with pytest.raises(UserError, match="has no column 'Gloss'"):
        list(asl_citizen.prepare(tmp_path))


@pytest.mark.parametrize(
    ("module", "clips", "vocabulary"), [(wlasl, 21_083, 2000), (autsl, 36_302, 226), (asl_citizen, 83_399, 2731)]
)
def test_published_counts_add_up(module: ModuleType, clips: int, vocabulary: int) -> None:
    counts = module.PUBLISHED
    assert sum(split.clips for split in counts.values()) == clips
    assert counts["train"].vocabulary == vocabulary
