"""Tables of segments and the dictionaries read from them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from signwave import manifest
from signwave.errors import ArtefactError, ManifestError
from signwave.manifest import Clip
from slr.crosslingual.segments import BLANK_GLOSS, Segment, SegmentsHeader, read_segments, write_segments
from slr.crosslingual.signs import Sign, load_signs, load_splits, split_by_origin

ROWS = [
    Segment("made", "a", -1, BLANK_GLOSS, 0, 4, 0.9, 0.8, False, 1, True),
    Segment("made", "a", 0, "HAUS", 4, 12, 0.5, 0.25, True, 2, True),
    Segment("made", "b", 0, "ÄPFEL", 1, 9, 0.1, 0.1, False, 1, False),
]


def _manifest(folder: Path) -> Path:
    path = folder / "train.jsonl.gz"
    clips = [Clip(id=name, path=f"{name}.pose", kind="pose", num_frames=20, rate_hz=25.0, text="X") for name in "ab"]
    manifest.write(path, clips)
    return path


def _header(path: Path, **changes: object) -> SegmentsHeader:
    header = SegmentsHeader(
        corpus="made", language="dgs", manifest=str(path), manifest_sha256=manifest.file_hash(path), model="m",
        model_sha256="0" * 64, rate_hz=25.0, stride=4, settings={"grow": True},
    )  # fmt: skip
    return dataclasses.replace(header, **changes)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "segments.parquet"
    path.parent.mkdir()
    write_segments(path, _header(_manifest(path.parent)), ROWS)
    return path


def test_what_is_written_is_read(table: Path) -> None:
    found = read_segments(table)
    assert [row._replace(mean_posterior=0, min_posterior=0) for row in found.rows] == [
        row._replace(mean_posterior=0, min_posterior=0) for row in ROWS
    ]
    assert [row.mean_posterior for row in found.rows] == pytest.approx([row.mean_posterior for row in ROWS])
    assert found.header.settings == {"grow": True}
    assert Path(found.header.manifest).samefile(table.parent / "train.jsonl.gz")


def test_any_reader_opens_it(table: Path) -> None:
    assert pyarrow.parquet.read_table(table).column("gloss").to_pylist() == [BLANK_GLOSS, "HAUS", "ÄPFEL"]


def test_hash_is_of_content_not_of_place(table: Path, tmp_path: Path) -> None:
    shutil.copytree(table.parent, tmp_path / "moved")
    moved = read_segments(tmp_path / "moved" / table.name)
    assert moved.sha256 == read_segments(table).sha256
    assert moved.header.manifest.startswith(str(tmp_path / "moved"))
    header = _header(table.parent / "train.jsonl.gz")
    assert write_segments(tmp_path / "same.parquet", header, ROWS) == moved.sha256
    others: list[tuple[SegmentsHeader, list[Segment]]] = [
        (header, ROWS[:2]),
        (header, [ROWS[0], ROWS[1]._replace(end_frame=13), ROWS[2]]),
        (dataclasses.replace(header, model_sha256="1"), ROWS),
        (dataclasses.replace(header, settings={}), ROWS),
    ]
    hashes = {write_segments(tmp_path / "x.parquet", *other) for other in others}
    assert len(hashes | {moved.sha256}) == 5


def test_a_table_without_rows(tmp_path: Path) -> None:
    write_segments(tmp_path / "none.parquet", _header(_manifest(tmp_path)), [])
    assert read_segments(tmp_path / "none.parquet").rows == []


def test_bad_tables_are_refused_in_one_line(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such table; make it with `slr align"):
        read_segments(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(ArtefactError, match=r"text\.parquet: can't be read as a table") as caught:
        read_segments(tmp_path / "text.parquet")
    assert "\n" not in str(caught.value)
    foreign = pyarrow.parquet.read_table(table).replace_schema_metadata(None)
    pyarrow.parquet.write_table(foreign, tmp_path / "foreign.parquet")
    with pytest.raises(ArtefactError, match="lacks the header"):
        read_segments(tmp_path / "foreign.parquet")
    short = pyarrow.parquet.read_table(table).drop_columns(["grown"])
    pyarrow.parquet.write_table(short, tmp_path / "short.parquet")
    with pytest.raises(ArtefactError, match="no column 'grown'"):
        read_segments(tmp_path / "short.parquet")


def test_signs_of_a_table(table: Path) -> None:
    signs = load_signs(table)
    assert signs.name == "dgs"
    assert [(sign.gloss, sign.start_seconds, sign.end_seconds) for sign in signs.signs] == [
        (BLANK_GLOSS, 0.0, 0.16),
        ("HAUS", 0.16, 0.48),
        ("ÄPFEL", 0.04, 0.36),
    ]
    assert Path(signs.signs[0].clip.path).parent.samefile(table.parent)
    sure = load_signs(table, name="other", min_mean_posterior=0.3, with_blanks=False)
    assert (sure.name, [sign.gloss for sign in sure.signs]) == ("other", ["HAUS"])
    assert sure.sha256 == signs.sha256 == read_segments(table).sha256


def test_a_manifest_that_changed_is_refused(table: Path) -> None:
    path = table.parent / "train.jsonl.gz"
    clips = list(manifest.read(path))
    manifest.write(path, clips[:1])
    with pytest.raises(ArtefactError, match="was aligned on another"):
        load_signs(table)
    path.unlink()
    with pytest.raises(ArtefactError, match="is not there; give the file"):
        load_signs(table)


def test_signs_of_an_isolated_corpus(tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    clips = [Clip(id=str(n), path=f"{n}.mp4", kind="video", text=text) for n, text in enumerate(["BOOK", "CAR"])]
    manifest.write(path, clips)
    signs = load_signs(path)
    assert [(sign.gloss, sign.start_seconds, sign.end_seconds) for sign in signs.signs] == [
        ("BOOK", 0.0, None),
        ("CAR", 0.0, None),
    ]
    assert signs.name == tmp_path.name
    manifest.write(path, [*clips, Clip(id="x", path="x.mp4", kind="video", text="TWO SIGNS")])
    with pytest.raises(ManifestError, match=r"clips\.jsonl:3: clip 'x' has 2 glosses"):
        load_signs(path)


def _prepared(folder: Path, *splits: str) -> Path:
    """A folder as `slr prepare` leaves it, with a clip called x in every split."""
    for number, split in enumerate(splits):
        clip = Clip(id="x", path=f"{split}.mp4", kind="video", text="ABC"[number], language="ase", split=split)
        manifest.write(folder / f"{split}.jsonl.gz", [clip])
    (folder / "problems.jsonl").write_text("")
    return folder


def test_a_folder_gives_its_training_split_and_its_own_dev_and_test(tmp_path: Path) -> None:
    for name in ("dev", "val", "validation"):
        folder = _prepared(tmp_path / name, "train", name, "test")
        found = load_splits(folder, name="own")
        parts = {"train": found.train, name: found.dev, "test": found.test}
        for number, (split, part) in enumerate(parts.items()):
            assert part is not None
            assert part.name == "own"
            assert part.source == str(folder / f"{split}.jsonl.gz")
            assert part.sha256 == manifest.file_hash(part.source)
            assert [sign.gloss for sign in part.signs] == ["ABC"[number]]
    alone = load_signs(folder)
    assert (alone.name, alone.source) == ("ase", str(folder / "train.jsonl.gz"))
    assert load_signs(alone.source) == alone, "what the source names are the same signs"
    assert load_splits(folder / "test.jsonl.gz").train.signs[0].gloss == "C"


def test_a_folder_may_lack_dev_and_test_but_not_train(tmp_path: Path) -> None:
    found = load_splits(_prepared(tmp_path / "a", "train", "test"))
    assert found.dev is None
    assert found.test is not None
    assert load_splits(_prepared(tmp_path / "b", "train"))[1:] == (None, None)
    with pytest.raises(
        ManifestError, match=r"c: has no train\.jsonl\.gz; it has all\.jsonl\.gz; give a folder of `slr"
    ):
        load_splits(_prepared(tmp_path / "c", "all"))
    with pytest.raises(ManifestError, match=r"it has no manifest; give a folder of `slr prepare`, one manifest of"):
        load_signs(_prepared(tmp_path))
    _manifest(tmp_path / "b")
    manifest.write(tmp_path / "b" / "dev.jsonl", [Clip(id="s", path="s.mp4", kind="video", text="TWO SIGNS")])
    with pytest.raises(ManifestError, match=r"dev\.jsonl:1: clip 's' has 2 glosses"):
        load_splits(tmp_path / "b")


def test_a_table_has_no_splits(table: Path) -> None:
    found = load_splits(table, min_mean_posterior=0.3)
    assert (found.dev, found.test) == (None, None)
    assert [sign.gloss for sign in found.train.signs] == [BLANK_GLOSS, "HAUS"]


def test_split_keeps_an_origin_on_one_side(tmp_path: Path) -> None:
    clips = [Clip(id=f"c{n}", path="x", kind="video", group=f"g{n // 2}" if n < 100 else "") for n in range(400)]
    path = tmp_path / "m.jsonl"
    manifest.write(path, clips)
    rows = [Segment("m", clip.id, k, "A", 5 * k, 5 * k + 5, 1, 1, False, 1, True) for clip in clips for k in range(3)]
    write_segments(tmp_path / "s.parquet", _header(path), rows)
    signs = load_signs(tmp_path / "s.parquet").signs
    train, rest = split_by_origin(signs, held_out=0.2)
    assert sorted(train + rest) == list(range(1200))
    sides = [{signs[i].clip.group or signs[i].origin for i in part} for part in (train, rest)]
    assert not sides[0] & sides[1]
    assert 0.14 < len(rest) / 1200 < 0.26
    # A clip falls where it falls, whatever else there is; another seed moves it.
    fewer = [sign for sign in signs if sign.origin != "c7"]
    assert {fewer[i].origin for i in split_by_origin(fewer, held_out=0.2)[1]} == {signs[i].origin for i in rest} - {
        "c7"
    }
    assert split_by_origin(signs, held_out=0.2, seed=1)[1] != rest


def test_a_few_clips_leave_one_to_hold_out() -> None:
    signs = [Sign(Clip(id=f"c{n}", path="x", kind="video"), "A") for n in range(4) for _ in range(3)]
    for seed in range(20):
        train, rest = split_by_origin(signs, held_out=0.01, seed=seed)
        assert len(rest) == 3
        assert len({signs[i].origin for i in rest}) == 1
        assert not {signs[i].origin for i in rest} & {signs[i].origin for i in train}
    assert split_by_origin(signs[:6], held_out=0.01)[1] == [], "of two clips none can be spared"
    assert split_by_origin(signs, held_out=0.0)[1] == []
