"""CE-CSL and How2Sign: small copies of their layouts with videos made here."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from signwave import manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.media.video import write_video
from signwave.prepare import PrepareReport, run_prepare
from slr.datasets import ce_csl, how2sign

REALIGNED = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"


def _video(path: Path, num_frames: int, *, fps: float = 25.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.zeros((num_frames, 3, 16, 16), dtype=np.uint8)
    frames[:, 0] = np.arange(num_frames, dtype=np.uint8)[:, None, None]
    return write_video(path, frames, fps=fps)


def _prepare(module: ModuleType, raw: Path, out: Path) -> tuple[PrepareReport, dict[str, Clip]]:
    report = run_prepare(module.prepare(raw), out, check=module.check, show_progress=False)
    clips = {clip.id: clip for split in report.splits for clip in manifest.read(out / f"{split}.jsonl.gz")}
    return report, clips


def test_ce_csl(tmp_path: Path) -> None:
    base = tmp_path / "CE-CSL"
    (base / "label").mkdir(parents=True)
    with (base / "label/dev.csv").open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Number", "Translator", "Chinese Sentences", "Gloss", "Note"])
        rows.writerow(["dev-00001", "A", "给你，05点。", "给（你）/05/上班2/？", ""])
        rows.writerow(["dev-00002", "B", "好。", "好/。", "x"])
        rows.writerow(["dev-00003", "B", "好。", "", ""])
        rows.writerow(["../../x", "B", "好。", "好", ""])
    _video(base / "video/dev/A/dev-00001.mp4", 12, fps=30)
    report, clips = _prepare(ce_csl, base / "label", tmp_path / "out")
    assert [problem.kind for problem in report.problems] == ["missing", "label", "invalid"]
    clip = clips["dev-00001"]
    assert (clip.text, clip.captions) == ("给 5 上班 ？", {"zh": "给你，05点。"})
    assert (clip.person, clip.language, clip.split, clip.num_frames, clip.rate_hz) == ("A", "csl", "dev", 12, 30.0)


@pytest.mark.parametrize(
    ("gloss", "clean"),
    [("送(我)", "送"), ("（a）b", "b"), ("最1", "最"), ("20", "20"), ("007", "7"), ("（x", ""), (",", "，")],
)
def test_ce_csl_glosses_are_cleaned_as_its_authors_do(gloss: str, clean: str) -> None:
    assert ce_csl.clean_gloss(gloss) == clean


@pytest.fixture
def how2sign_raw(tmp_path: Path) -> Path:
    raw = tmp_path / "How2Sign"
    table = raw / "sentence_level/val/text/en/raw_text/re_aligned/how2sign_realigned_val.csv"
    table.parent.mkdir(parents=True)
    long = "-d5dN54tH2E-1-rgb_front"
    rows = [
        REALIGNED,
        f"-d5dN54tH2E\t{long}\t-d5dN54tH2E_0\t-d5dN54tH2E_0-1-rgb_front\t0.4\t1.2\tWe're going to work.",
        f'-d5dN54tH2E\t{long}\t-d5dN54tH2E_1\t-d5dN54tH2E_1-1-rgb_front\t1.2\t9.0\t"He said ""well""."',
        f"-d5dN54tH2E\t{long}\t-d5dN54tH2E_2\t-d5dN54tH2E_2-1-rgb_front\t5.0\t6.0\tPast the end.",
        f"-d5dN54tH2E\t{long}\t-d5dN54tH2E_3\t-d5dN54tH2E_3-1-rgb_front\t2.0\t2.0\tNothing.",
        f"-d5dN54tH2E\t{long}\t-d5dN54tH2E_4\t-d5dN54tH2E_4-1-rgb_front\tsoon\t2.0\tNo time.",
        "none\tnone-8-rgb_front\tnone_0\tnone_0-8-rgb_front\t0.0\t2.0\tNo video.",
        "cut\tcut-8-rgb_front\tcut_0\tcut_0-8-rgb_front\t50.0\t51.0\tCut already.",
    ]
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    _video(raw / f"video_level/val/rgb_front/raw_videos/{long}.mp4", 50)
    _video(raw / "sentence_level/val/rgb_front/raw_videos/cut_0-8-rgb_front.mp4", 25)
    _video(raw / "sentence_level/train/rgb_front/raw_videos/cut_0-8-rgb_front.mp4", 5)
    hidden = raw / "sentence_level/val/openpose_output/json/how2sign_realigned_val.csv"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("not looked at")
    return raw


def test_how2sign(how2sign_raw: Path, tmp_path: Path) -> None:
    report, clips = _prepare(how2sign, how2sign_raw, tmp_path / "out")
    assert [(problem.where.rsplit(":", 1)[1], problem.kind) for problem in report.problems] == [
        *(("4", "invalid"), ("5", "span"), ("6", "invalid"), ("7", "missing")),
    ]
    first = clips["-d5dN54tH2E_0-1-rgb_front"]
    assert (first.start_seconds, first.end_seconds, first.num_frames) == (0.4, 1.2, 20)
    assert (first.text, first.captions) == ("", {"en": "We're going to work."})
    assert (first.person, first.language, first.split) == ("1", "ase", "val")
    second = clips["-d5dN54tH2E_1-1-rgb_front"]
    assert second.captions["en"] == 'He said "well".'
    assert second.num_frames == 20, "the span ends with the video"
    cut = clips["cut_0-8-rgb_front"]
    assert (cut.start_seconds, cut.end_seconds, cut.num_frames) == (0.0, None, 25)


def test_how2sign_tables(how2sign_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"holds no how2sign_realigned_train\.csv"):
        list(how2sign.prepare(how2sign_raw / "video_level"))
    with pytest.raises(UserError, match="no such folder"):
        list(how2sign.prepare(how2sign_raw / "none"))
    old = how2sign_raw / "video_level/how2sign_val.csv"
    old.write_text(REALIGNED.replace("_REALIGNED", "") + "\n")
    with caplog.at_level(logging.WARNING):
        assert list(how2sign.prepare(how2sign_raw / "video_level")) == []
    assert "times of the first release" in caplog.text
    (how2sign_raw / "video_level/how2sign_realigned_val.csv").write_text(REALIGNED + "\n")
    with pytest.raises(UserError, match="are both there"):
        list(how2sign.prepare(how2sign_raw))


def test_real_how2sign_clips(shared_data: Path, tmp_path: Path) -> None:
    videos = sorted((shared_data / "sign" / "how2sign_samples").glob("*.mp4"))[:4]
    rows = [REALIGNED]
    for number, path in enumerate(videos):
        (tmp_path / f"v_{number}-5-rgb_front.mp4").symlink_to(path)
        rows.append(f"v\tv-5-rgb_front\tv_{number}\tv_{number}-5-rgb_front\t3.0\t5.0\tA sentence.")
    (tmp_path / "how2sign_realigned_test.csv").write_text("\n".join(rows) + "\n")
    report, clips = _prepare(how2sign, tmp_path, tmp_path / "out")
    assert (report.exit_code, len(clips)) == (0, 4)
    seconds = [float(path.name.split("-")[-2]) - float(path.name.split("-")[-3]) for path in videos]
    assert [clip.duration_seconds for clip in clips.values()] == pytest.approx(seconds, abs=0.15)
