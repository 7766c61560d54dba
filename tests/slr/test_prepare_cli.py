"""`slr prepare` after the rows are checked: repacking, keypoints from elsewhere, statistics, and wrong inputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signwave import command, manifest
from signwave.manifest import Clip
from slr import cli

ROWS = {"train": ("a-0|A B|Signer01", "a-1|B|Signer02"), "dev": ("b-0|A|Signer01",), "test": ("c-0|B Z|Signer01",)}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Phoenix-2014's layout with four clips of twelve frames."""
    base = tmp_path / "raw" / "phoenix-2014-multisigner"
    (base / "annotations" / "manual").mkdir(parents=True)
    for split, rows in ROWS.items():
        lines = ["id|folder|signer|annotation"]
        for row in rows:
            name, text, person = row.split("|")
            lines.append(f"{name}|{name}/1/*.png|{person}|{text}")
            folder = base / "features" / "fullFrame-210x260px" / split / name / "1"
            folder.mkdir(parents=True)
            for number in range(12):
                pixels = np.full((40, 32, 3), 10 * number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}.avi_pid0_fn{number:06d}-0.png")
        (base / "annotations" / "manual" / f"{split}.corpus.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "raw"


def slr(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["slr", *map(str, arguments)])
    return command.run(cli.app)


def clips(out: Path, split: str) -> list[Clip]:
    return list(manifest.read(out / f"{split}.jsonl.gz"))


def test_clips_are_repacked_and_get_their_keypoints(
    corpus: Path, tmp_path: Path, write_pose, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train/a-0", "dev/b-0", "c-0"):  # with and without the split; a-1 has none
        write_pose((tmp_path / "found" / f"{name}.pose"), [1], fps=25.0)
    out = tmp_path / "out"
    status = slr(
        monkeypatch, "prepare", "phoenix2014", corpus, out, "--pack", "video", "--size", "20x16",
        "--poses", tmp_path / "found", "-q", "--num-workers", 1, "--json",
    )  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    assert status == command.EXIT_SOME_FAILED
    assert report["problem_counts"] == {"no_poses": 1}
    assert report["poses"] == {"num_clips": 3, "num_without": 1}
    assert report["packed"]["clips"] == 4
    first, second = clips(out, "train")
    assert first.poses_path == str(tmp_path / "found" / "train" / "a-0.pose")
    assert second.poses_path == ""
    assert Path(first.path).suffix == ".mp4"
    assert first.num_frames == 12
    assert report["statistics"]["splits"]["test"]["oov_tokens"] == 1
    assert any("published" in text for text in report["warnings"])
    assert json.loads((out / "prepare.json").read_text())["statistics"] == report["statistics"]


def test_a_limit_silences_the_published_counts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slr(monkeypatch, "prepare", "phoenix2014", corpus, tmp_path / "out", "-q", "--limit", 1) == 0
    shown = capsys.readouterr().out
    assert "published" not in shown
    assert "different glosses" in shown


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["phoenix2015", ".", "out"], 1, "no corpus 'phoenix2015'; allowed are phoenix2014, "),
        (["phoenix2014", "RAW", "out", "--size", "big"], 2, "'big' is no size; write HEIGHTxWIDTH"),
        (["phoenix2014", "RAW", "out", "--pack", "gif"], 1, "--pack gif: allowed are video and jpeg"),
        (["phoenix2014", "RAW", "out", "--poses", "nowhere"], 1, "--poses nowhere: no such file or folder; or give"),
        (["phoenix2014", "RAW", "out", "--poses", "EMPTY"], 1, "holds no .pose, .json or .npz file"),
        (["phoenix2014", "RAW", "out", "--poses", "extract", "--pose-python", "no/python"], 1, "no/python"),
        (["phoenix2014", "EMPTY", "out"], 1, "phoenix-2014-multisigner"),
    ],
)
def test_wrong_inputs_take_one_line(
    arguments: list[str],
    status: int,
    message: str,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"RAW": str(corpus), "EMPTY": str(tmp_path / "empty"), "out": str(tmp_path / "out")}
    assert slr(monkeypatch, "prepare", *(places.get(text, text) for text in arguments), "-q") == status
    shown = capsys.readouterr().err
    assert message in " ".join(shown.split())
    assert "Traceback" not in shown


def test_stages_are_refused_before_the_corpus_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("slr.datasets.phoenix2014.prepare", lambda raw: pytest.fail("the corpus was read"))
    for option, value in (("--pack", "gif"), ("--poses", tmp_path / "nowhere")):
        assert slr(monkeypatch, "prepare", "phoenix2014", tmp_path, tmp_path / "out", option, value) == 1
        assert f"{option} {value}: " in " ".join(capsys.readouterr().err.split())


def test_a_corpus_of_problems_alone_is_told_as_such(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.rmtree(corpus / "phoenix-2014-multisigner" / "features")
    (corpus / "phoenix-2014-multisigner" / "features" / "fullFrame-210x260px").mkdir(parents=True)
    status = slr(
        monkeypatch, "prepare", "phoenix2014", corpus, tmp_path / "out", "--poses", corpus, "-q", "--json"
    )  # fmt: skip
    shown = capsys.readouterr()
    assert status != 0
    assert "Traceback" not in shown.err
    assert sum(json.loads(shown.out)["problem_counts"].values()) == 4


def test_a_span_takes_the_keypoints_of_its_recording(tmp_path: Path, write_pose) -> None:
    from slr.corpora.preparation import Preparation

    # One named after the sentence begins where the sentence does, and its times aren't the recording's.
    for name in ("long", "sentence"):
        write_pose(tmp_path / "poses" / f"{name}.pose", [1], fps=25.0)
    span = Clip(id="sentence", path="long.mp4", kind="video", start_seconds=3.0, end_seconds=4.0, split="train")
    whole = Clip(id="sentence", path="sentence.mp4", kind="video", split="train")
    stages = Preparation(out_dir=tmp_path / "out", poses=str(tmp_path / "poses"), show_progress=False)
    assert [Path(clip.poses_path).stem for clip in stages.finish([span, whole]).clips] == ["long", "sentence"]


def test_spans_of_one_file_share_its_keypoints(tmp_path: Path, write_pose, monkeypatch: pytest.MonkeyPatch) -> None:
    from slr.corpora.preparation import Preparation

    asked: dict[str, str] = {}

    def extract(videos, out_dir, **options):
        asked.update(videos)
        for name in videos:
            write_pose(Path(out_dir) / f"{name}.pose", [1], fps=25.0)
        return type("Report", (), {"problems": ()})()

    monkeypatch.setattr("slr.keypoints.extraction.extract", extract)
    spans = [
        Clip(id=f"v@{n}", path="v.mp4", kind="video", start_seconds=n, end_seconds=n + 1, split="train")
        for n in range(3)
    ]
    found = Preparation(out_dir=tmp_path, poses="extract", show_progress=False).finish(spans)
    assert asked == {"train/v@0": "v.mp4"}
    assert {clip.poses_path for clip in found.clips} == {str(tmp_path / "poses" / "train" / "v@0.pose")}
