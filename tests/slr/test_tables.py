"""Tables of clips in the shapes people bring, and folders of clips with and without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signwave.errors import ManifestError, UserError
from signwave.manifest import read
from signwave.media.video import write_video
from signwave.prepare import Problem, run_prepare
from slr.corpora.tables import TableRow, find_table, read_table
from slr.datasets import poses, videos


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", "\t", "|", ";"])
def test_separators_and_names_are_found(tmp_path: Path, separator: str) -> None:
    text = 'HELLO "YOU"' if separator == "|" else "HELLO YOU"
    rows = [["id", "Signer", "gloss"], ["-xY_3", "1", text], ["b", "2", "BYE"]]
    table = write(tmp_path / "t.csv", "\ufeff" + "\n".join(separator.join(row) for row in rows) + "\n\n")
    found = [row for row in read_table(table) if isinstance(row, TableRow)]
    assert [row.values["file"] for row in found] == ["-xY_3", "b"]
    assert found[0].values["person"] == "1"
    assert found[0].values["gloss"].startswith("HELLO")
    assert found[1].where == f"{table}:3"


def test_quoted_commas_and_short_rows(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 'file,caption,language\na.mp4,"one, two",en\nb.mp4\n')
    first, second = (row for row in read_table(table) if isinstance(row, TableRow))
    assert first.values["text"] == "one, two"
    assert second.values["text"] == ""


def test_bad_tables_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"t\.csv:1: no column names the clips; it has x, y"):
        list(read_table(write(tmp_path / "t.csv", "x,y\n1,2\n")))
    _, problem, last = read_table(write(tmp_path / "t.csv", "id,text\na,b\nc,d,e,f\ng,h\n"))
    assert isinstance(problem, Problem)
    assert str(problem).endswith("t.csv:3: 4 fields under 2 columns; quote the text")
    assert isinstance(last, TableRow)
    (tmp_path / "t.csv").write_bytes(b"id,text\n\xff\xfe,b\n")
    with pytest.raises(ManifestError, match=r"can't be read as a table .* UTF-8"):
        list(read_table(tmp_path / "t.csv"))
    with pytest.raises(ManifestError, match=r"none\.csv: no such table"):
        list(read_table(tmp_path / "none.csv"))
    write(tmp_path / "u.tsv", "id\n")
    with pytest.raises(ManifestError, match=r"2 tables \(t\.csv, u\.tsv\)"):
        find_table(tmp_path)


def test_pose_folder(tmp_path: Path, write_pose) -> None:
    raw = tmp_path / "raw"
    write_pose(raw / "-1.pose", [1, 2], fps=50.0)
    write_pose(raw / "deep" / "two.pose", [3])
    write_pose(raw / "x" / "same.pose", [3])
    write_pose(raw / "y" / "same.pose", [3])
    (raw / "broken.pose").write_bytes(b"")
    table = "id|gloss|signer|translation|lang|split|start|end\n"
    table += '-1|HELLO  "YOU"|7|hello|en|dev|0.1|0.3\ntwo.pose|B||||||\nnot-there|C||||||\nbroken|D||||||\n'
    table += "same|E||||||\nx/same.pose|E||||||\ntwo|F||||soon||\n|G||||||\ntwo|H||||9|10\n"
    write(raw / "texts.csv", table.replace("||||soon||", "|||||soon|").replace("||||9|10", "|||||9|10"))
    report = run_prepare(poses.prepare(raw), tmp_path / "out", check=poses.check, show_progress=False)
    assert report.exit_code == 3
    kinds = {problem.where.rsplit(":", 1)[1]: problem.kind for problem in report.problems}
    assert kinds == {"4": "missing", "5": "empty", "6": "ambiguous", "8": "invalid", "9": "label", "10": "invalid"}
    (clip,) = read(tmp_path / "out" / "dev.jsonl.gz")
    assert (clip.id, clip.text, clip.person, clip.captions) == ("-1", 'HELLO "YOU"', "7", {"en": "hello"})
    assert (clip.num_frames, clip.rate_hz) == (10, 50.0)
    assert [c.id for c in read(tmp_path / "out" / "all.jsonl.gz")] == ["two.pose", "x/same.pose"]


def test_video_folder(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    frames = np.zeros((12, 3, 32, 32), dtype=np.uint8)
    write_video(raw / "a.1-2.mp4", frames, fps=24.0)
    whole = write_video(raw / "b.mp4", np.random.default_rng(0).integers(0, 255, (40, 3, 64, 64), np.uint8), fps=24.0)
    whole.write_bytes(whole.read_bytes()[:3000])
    write(raw / "captions.csv", "file,text,signer\na.1-2,HELLO,1\nb.mp4,BYE,1\n")
    report = run_prepare(videos.prepare(raw), tmp_path / "out", check=videos.check, show_progress=False)
    assert report.exit_code == 3
    assert [p.where.rsplit(":", 1)[1] for p in report.problems] == ["3"]
    (clip,) = read(tmp_path / "out" / "all.jsonl.gz")
    assert (clip.num_frames, clip.rate_hz, clip.text) == (12, 24.0, "HELLO")


def test_folder_without_a_table(tmp_path: Path, write_pose) -> None:
    write_pose(tmp_path / "deep" / "one.pose", [1])
    report = run_prepare(poses.prepare(tmp_path), tmp_path / "out", check=poses.check, show_progress=False)
    assert report.exit_code == 0
    assert [clip.id for clip in read(tmp_path / "out" / "all.jsonl.gz")] == ["deep/one"]
    with pytest.raises(UserError, match="no such folder"):
        list(poses.prepare(tmp_path / "nowhere"))
