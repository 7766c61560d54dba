"""Corpora of pictures: small copies of the official layouts, made up here, prepared as a user would."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from signwave import manifest
from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.media.video import open_video
from signwave.prepare import PrepareReport, run_prepare
from slr.datasets import csl_daily, phoenix2014, phoenix2014_si5, phoenix2014t, slrt, vac
from slr.datasets.annotations import check_media, find_base, frame_folder, plain_name, read_records

P14_HEADER = "id|folder|signer|annotation"
P14T_HEADER = "name|video|start|end|speaker|orth|translation"


def _pictures(folder: Path, pattern: str, numbers: range, *, size: tuple[int, int] = (6, 8)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", size, (number % 256, 0, 0)).save(folder / (pattern % number))
    return folder


def _table(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _prepare(module: ModuleType, raw: Path, out: Path) -> tuple[PrepareReport, dict[str, Clip]]:
    report = run_prepare(module.prepare(raw), out, check=module.check, show_progress=False)
    clips = {clip.id: clip for split in report.splits for clip in manifest.read(out / f"{split}.jsonl.gz")}
    return report, clips


@pytest.fixture
def p14(tmp_path: Path) -> Path:
    """The multisigner set-up in its archive: a good clip, one too short, one broken, one without pictures."""
    base = tmp_path / "phoenix2014-release" / "phoenix-2014-multisigner"
    for split, rows in {
        "train": [
            "01April_2010_Thursday_heute_default-0|01April_2010_Thursday_heute_default-0/1/*.png|Signer04|A  loc-B A",
            "short_x-14|short_x-14/1/*.png|Signer07|A B C D",
            "broken_x-1|broken_x-1/1/*.png|Signer01|A",
            "gone_x-1|gone_x-1/1/*.png|Signer01|A",
            "wild_x-1|../../../etc/*.png|Signer01|A",
            "mute_x-1|mute_x-1/1/*.png|Signer01|",
            "too|few",
        ],
        "dev": ['01April_2010_Thursday_heute_default-3|01April_2010_Thursday_heute_default-3/1/*.png|Signer04|"A B'],
    }.items():
        _table(base / f"annotations/manual/{split}.corpus.csv", P14_HEADER, *rows)
    frames = base / "features/fullFrame-210x260px"
    for split, name, numbers in (
        ("train", "01April_2010_Thursday_heute_default-0", range(12)),
        ("train", "short_x-14", range(9)),
        ("train", "broken_x-1", range(4)),
        ("dev", "01April_2010_Thursday_heute_default-3", range(11)),
    ):
        _pictures(frames / split / name / "1", f"{name}.avi_pid0_fn%06d-0.png", numbers)
    (frames / "train/broken_x-1/1/broken_x-1.avi_pid0_fn000002-0.png").write_bytes(b"")
    (base / "annotations/automatic").mkdir()
    return base


def test_phoenix2014(p14: Path, tmp_path: Path) -> None:
    report, clips = _prepare(phoenix2014, p14.parent, tmp_path / "out")
    assert report.exit_code == 3
    assert [(problem.where.rsplit(":", 1)[1], problem.kind) for problem in report.problems] == [
        *(("4", "empty"), ("5", "missing"), ("6", "invalid"), ("7", "label"), ("8", "fields")),
    ]
    assert "broken_x-1.avi_pid0_fn000002-0.png is an empty file of 0 bytes" in report.problems[0].reason
    clip = clips["01April_2010_Thursday_heute_default-0"]
    assert (clip.text, clip.person, clip.language) == ("A loc-B A", "Signer04", "gsg")
    assert (clip.group, clip.split) == ("01April_2010_Thursday_heute_default", "train")
    assert (clip.num_frames, clip.rate_hz) == (12, 25.0)
    assert clips["01April_2010_Thursday_heute_default-3"].text == '"A B', "quotes mean nothing between pipes"
    with open_video(clip.path) as video:  # in the order of the numbers in the odd names
        assert video.frames().pixels[:, 0, 0, 0].tolist() == list(range(12))


@pytest.mark.parametrize("inside", ["..", ".", "annotations", "annotations/manual", "features/fullFrame-210x260px"])
def test_any_level_of_the_folder_is_taken(p14: Path, inside: str) -> None:
    rows = list(phoenix2014.prepare(p14 / inside))
    assert sum(hasattr(row, "clip") for row in rows) == 5


def test_the_signer_independent_set_up_lies_beside_the_other(p14: Path, tmp_path: Path) -> None:
    base = p14.parent / "phoenix-2014-signerindependent-SI5"
    row = "a_x-1|a_x-1/1/*.png|Signer05|A"
    _table(base / "annotations/manual/test.SI5.corpus.csv", P14_HEADER, row)
    _pictures(base / "features/fullFrame-256x256px/test/a_x-1/1", "a_x-1.avi_pid0_fn%06d-0.png", range(4))
    report, clips = _prepare(phoenix2014_si5, p14.parent, tmp_path / "out")
    assert (report.exit_code, list(clips)) == (0, ["a_x-1"])
    assert clips["a_x-1"].num_frames == 4
    assert "fullFrame-256x256px" in clips["a_x-1"].path
    with pytest.raises(UserError, match=r"holds no .*train\.SI5\.corpus\.csv.*phoenix-2014-signerindependent-SI5"):
        list(phoenix2014_si5.prepare(p14 / "features/fullFrame-210x260px/train/short_x-14/1"))


def test_phoenix2014t_has_no_folder_1(tmp_path: Path) -> None:
    base = tmp_path / "PHOENIX-2014-T-release-v3" / "PHOENIX-2014-T"
    for split in ("train", "dev", "test"):
        name = f"{split}_tagesschau-7"
        row = f"{name}|{name}/1/*.png|-1|-1|Signer08|REGEN  MORGEN|morgen regnet es"
        _table(base / f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv", P14T_HEADER, row)
        folder = _pictures(base / f"features/fullFrame-210x260px/{split}/{name}", "images%04d.png", range(1, 11))
        (folder / "images0001.png.lprof").write_bytes(b"stray")
    report, clips = _prepare(phoenix2014t, tmp_path / "PHOENIX-2014-T-release-v3", tmp_path / "out")
    assert (report.exit_code, set(report.splits)) == (0, {"train", "dev", "test"})
    clip = clips["dev_tagesschau-7"]
    assert (clip.num_frames, clip.text, clip.captions) == (10, "REGEN MORGEN", {"de": "morgen regnet es"})
    assert (clip.person, clip.group) == ("Signer08", "dev_tagesschau")


def test_real_sample_of_phoenix2014t(shared_data: Path, tmp_path: Path) -> None:
    report, clips = _prepare(phoenix2014t, shared_data / "sign" / "layout-samples", tmp_path / "out")
    assert set(report.splits) == {"train", "dev", "test"}
    assert {clip.num_frames for clip in clips.values()} == {2}
    with open_video(next(iter(clips.values())).path) as video:
        assert video.frames().pixels.shape == (2, 3, 260, 210)


CSL_ROWS = (
    "index|name|length|gloss|char|word|postag",
    "0|S000020_P0004_T00|9|他 好|他 很 好|他 很 好|r d a",
    "1|S000007_P0003_T00|9|我|我|我|r",
)


@pytest.fixture
def csl(tmp_path: Path) -> Path:
    base = tmp_path / "csl-daily"
    splits = ("name|split", "S000020_P0004_T00|dev", "S000005_P0004_T00|train")
    _table(base / "sentence_label/split_1.txt", *splits)
    _pictures(base / "sentence/frames_512x512/S000020_P0004_T00", "%06d.jpg", range(9))
    return base


@pytest.mark.parametrize("labels", ["table", "pickle"])
def test_csl_daily(csl: Path, tmp_path: Path, labels: str) -> None:
    if labels == "table":
        _table(csl / "sentence_label/video_map.txt", *CSL_ROWS)
    else:
        names = ("index", "name", "length", "gloss", "char", "word", "postag")
        entries = [dict(zip(names, row.split("|"), strict=True)) for row in CSL_ROWS[1:]]
        info = [
            {"name": row["name"], **{f"label_{key}": row[key].split() for key in ("gloss", "char")}} for row in entries
        ]
        (csl / "sentence_label/csl2020ct_v2.pkl").write_bytes(pickle.dumps({"info": info, "gloss_map": ["他"]}))
    report, clips = _prepare(csl_daily, csl, tmp_path / "out")
    reasons = [problem.reason for problem in report.problems]
    assert reasons == [
        "clip 'S000007_P0003_T00' is in no split of split_1.txt; it can't be used",
        "clip 'S000005_P0004_T00' has no label; it can't be used",
    ]
    clip = clips["S000020_P0004_T00"]
    assert (clip.text, clip.captions, clip.language, clip.split) == ("他 好", {"zh": "他很好"}, "csl", "dev")
    assert (clip.person, clip.group, clip.num_frames, clip.rate_hz) == ("P0004", "S000020", 9, 30.0)
    assert len(list(csl_daily.prepare(csl / "sentence_label"))) == 3


def test_csl_daily_without_its_pictures_says_where_they_belong(csl: Path) -> None:
    _table(csl / "sentence_label/video_map.txt", *CSL_ROWS)
    (csl / "sentence").rename(csl / "elsewhere")
    with pytest.raises(UserError, match=r"holds none of sentence/frames_512x512.*unpack the pictures there"):
        list(csl_daily.prepare(csl))


def _annotation(name: str, **other: object) -> dict[str, object]:
    return {"name": name, "gloss": "a b", "text": "ein satz", "signer": "Signer01", "num_frames": 4, **other}


@pytest.mark.parametrize("zipped", [False, True])
def test_slrt_annotations(tmp_path: Path, zipped: bool) -> None:
    raw = tmp_path / "raw"
    long_name = "fullFrame-210x260px/train/p14_x-1/1/p14_x-1"
    _pictures(raw / "fullFrame-210x260px/train/p14_x-1/1", "p14_x-1.avi_pid0_fn%06d-0.png", range(4))
    _pictures(raw / "images/dev/p14t-2", "images%04d.png", range(1, 5))
    if zipped:
        with zipfile.ZipFile(raw / "phoenix.zip", "w") as archive:
            for path in sorted(raw.rglob("*.png")):
                archive.write(path, path.relative_to(raw))
                path.unlink()
    sign = np.zeros((4, 8), dtype=np.float32)
    train = [_annotation(long_name, sign=sign), _annotation("train/none-1"), {"gloss": "a"}, _annotation("../../x-1")]
    (raw / "phoenix.train").write_bytes(gzip.compress(pickle.dumps(train)))
    (raw / "phoenix.dev").write_bytes(pickle.dumps([_annotation("dev/p14t-2", num_frames=5)]))
    report, clips = _prepare(slrt, raw, tmp_path / "out")
    assert clips["p14_x-1"].num_frames == 4
    assert (clips["p14_x-1"].captions, clips["p14_x-1"].person) == ({"de": "ein satz"}, "Signer01")
    kinds = sorted(problem.kind for problem in report.problems)
    assert kinds == ["invalid", "invalid", "missing", "truncated"], "one file lacks a frame that its list announces"
    assert ("::" in clips["p14_x-1"].path) == zipped
    with open_video(clips["p14_x-1"].path) as video:
        assert video.num_frames == 4


def test_slrt_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no annotation file NAME\.train"):
        list(slrt.prepare(tmp_path))
    (tmp_path / "a.train").write_bytes(pickle.dumps({"not": "a list"}))
    with pytest.raises(UserError, match="holds a dict where a list of clips is expected"):
        list(slrt.prepare(tmp_path))
    (tmp_path / "b.train.pkl").write_bytes(pickle.dumps([]))
    with pytest.raises(UserError, match=r"two files of the split train: a\.train, b\.train\.pkl"):
        list(slrt.prepare(tmp_path))


def test_vac_lists(tmp_path: Path) -> None:
    lists = tmp_path / "VAC_CSLR" / "preprocess" / "phoenix2014"
    lists.mkdir(parents=True)
    features = tmp_path / "VAC_CSLR" / "dataset" / "phoenix-2014-multisigner/features/fullFrame-210x260px"
    _pictures(features / "train/a_x-1/1", "a.avi_pid0_fn%06d-0.png", range(5))
    row = "a_x-1|a_x-1/1/*.png|Signer03|A B"
    info = {
        "prefix": "../dataset/phoenix-2014-multisigner/features/fullFrame-210x260px",
        0: {
            **{"fileid": "a_x-1", "folder": "train/a_x-1/1/*.png", "signer": "Signer03", "label": "A B"},
            **{"num_frames": 5, "original_info": row},
        },
        1: {"fileid": "b", "folder": "train/b/1/*.png"},
        2: {"fileid": "c", "folder": "train/c/1/*.png", "label": "A", "original_info": "c|c/1/*.png|S|A"},
    }
    np.save(lists / "train_info.npy", np.array(info, dtype=object))
    report, clips = _prepare(vac, lists, tmp_path / "out")
    assert [(problem.where.split("/")[-1], problem.kind) for problem in report.problems] == [
        ("train_info.npy[1]", "invalid"),
        ("train_info.npy[2]", "missing"),
    ]
    clip = clips["a_x-1"]
    assert (clip.num_frames, clip.text, clip.language, clip.group, clip.person) == (5, "A B", "gsg", "a_x", "Signer03")


def test_vac_list_copied_beside_the_frames_of_phoenix2014t(tmp_path: Path) -> None:
    _pictures(tmp_path / "features/fullFrame-256x256px/dev/b-1", "images%04d.png", range(1, 4))
    entry = {
        "fileid": "b-1",
        "folder": "dev/b-1/1/*.png",
        "signer": "S",
        "label": "A",
        "num_frames": 0,
    }  # as the list says where the frames lay elsewhere
    entry["original_info"] = "b-1|b-1/1/*.png|-1|-1|S|A|ein satz"
    np.save(tmp_path / "dev_info.npy", np.array({"prefix": "/nowhere", 0: entry}, dtype=object))
    report, clips = _prepare(vac, tmp_path, tmp_path / "out")
    assert report.exit_code == 0
    assert (clips["b-1"].num_frames, clips["b-1"].captions) == (3, {"de": "ein satz"})
    with pytest.raises(UserError, match=r"holds no train_info\.npy"):
        list(vac.prepare(tmp_path / "features"))


def test_tables_are_read_by_header(tmp_path: Path) -> None:
    table = _table(tmp_path / "a.csv", "b|a", " x  y |1", "", "1|2|3", "only")
    found = list(read_records(table, columns=("a",)))
    assert [getattr(record, "values", None) for record in found] == [{"b": "x y", "a": "1"}, None, None]
    assert [record.where.rsplit(":", 1)[1] for record in found] == ["2", "4", "5"]
    with pytest.raises(ManifestError, match=r"a\.csv:1: has no column 'c'; it has b, a, needed are c"):
        list(read_records(table, columns=("c",)))
    with pytest.raises(ManifestError, match="no such table"):
        list(read_records(tmp_path / "none.csv", columns=("c",)))
    table.write_bytes(b"a|b\n\xff\xfe|1\n")
    with pytest.raises(ManifestError, match="can't be read as a table"):
        list(read_records(table, columns=("a",)))


def test_paths_in_tables_stay_inside_the_corpus(tmp_path: Path) -> None:
    for pattern in ("/etc/*.png", "../x/*.png", "a/../../b", ""):
        with pytest.raises(ManifestError, match="no path inside the corpus"):
            frame_folder(tmp_path, pattern)
    for name in ("a/b", "..", "", "a\\b"):
        with pytest.raises(ManifestError, match="no name of a clip"):
            plain_name(name)
    assert plain_name("-d5dN54tH2E_0-1-rgb_front") == "-d5dN54tH2E_0-1-rgb_front"
    with pytest.raises(UserError, match="no such folder"):
        find_base(tmp_path / "none", "a", what="x")


@pytest.mark.parametrize("damaged", [0, -1])
def test_check_reads_the_first_and_the_last_picture(tmp_path: Path, damaged: int) -> None:
    folder = _pictures(tmp_path / "clip", "images%04d.png", range(1, 12))
    clip = Clip(id="a", path=str(folder), kind="video")
    assert check_media(clip, rate_hz=25.0).num_frames == 11
    sorted(folder.iterdir())[damaged].write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    with pytest.raises(UserError, match=r"readable picture|can be decoded"):
        check_media(clip, rate_hz=25.0)
