"""Manifests: round trips, streaming, and every wrong row named by file and line."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwave import manifest
from signwave.errors import ManifestError
from signwave.manifest import Clip

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CLIPS = st.builds(
    Clip,
    id=TEXT.filter(bool),
    path=st.just("/media/a.mp4"),
    kind=st.sampled_from(["video", "pose", "audio"]),
    start_seconds=st.floats(0, 10),
    end_seconds=st.none() | st.floats(10, 20),
    num_frames=st.none() | st.integers(0, 10**9),
    rate_hz=st.none() | st.floats(0.1, 48000),
    text=TEXT,
    captions=st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(clips=st.lists(CLIPS, max_size=5), packed=st.booleans())
def test_round_trip(clips: list[Clip], packed: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("m") / ("m.jsonl.gz" if packed else "m.jsonl")
    digest = manifest.write(path, clips)
    assert list(manifest.read(path)) == clips
    assert digest == manifest.content_hash(clips)


def test_equal_clips_give_equal_bytes(tmp_path: Path) -> None:
    clips = [Clip(id="-a", path="x.wav", kind="audio")]
    manifest.write(tmp_path / "1.jsonl.gz", clips)
    manifest.write(tmp_path / "2.jsonl.gz", clips)
    assert (tmp_path / "1.jsonl.gz").read_bytes() == (tmp_path / "2.jsonl.gz").read_bytes()


def test_relative_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    manifest.write(tmp_path / "sub" / "m.jsonl", [Clip(id="a", path="clips/a.mp4", kind="video")])
    (clip,) = manifest.read(tmp_path / "sub" / "m.jsonl")
    assert clip.path == str(tmp_path / "sub" / "clips" / "a.mp4")


def test_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    good = manifest.dump_line(Clip(id="a", path="a.wav", kind="audio"))
    path.write_text(good + "\n\nbroken\n")
    rows = manifest.read(path)
    assert next(rows).id == "a"
    with pytest.raises(ManifestError, match=r"m\.jsonl:3: not valid JSON"):
        next(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "id and path must not be empty"),
        ({"kind": "film"}, "kind must be one of video, pose, audio, got 'film'"),
        ({"num_frames": -1}, "num_frames must be a whole number of at least 0, got -1"),
        ({"num_frames": 2.5}, "num_frames must be a whole number"),
        ({"num_frames": True}, "num_frames must be a whole number"),
        ({"rate_hz": 0}, "rate_hz must be above 0, got 0"),
        ({"start_seconds": -0.1}, "start_seconds must be at least 0"),
        ({"start_seconds": 2, "end_seconds": 1}, "end_seconds must not lie before start_seconds 2, got 1"),
        ({"end_seconds": "1"}, "end_seconds must not lie before"),
        ({"captions": {"en": 3}}, "captions must map language to text"),
        ({"text": None}, "text must be text, got None"),
        ({"colour": "red"}, "unknown key 'colour'; allowed are"),
    ],
)
def test_wrong_row_is_named_by_file_and_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("\n" + json.dumps({"id": "a", "path": "a", "kind": "video", **changes}) + "\n")
    with pytest.raises(ManifestError, match=rf"m\.jsonl:2: {message}"):
        list(manifest.read(path))


@pytest.mark.parametrize("missing", ["id", "path", "kind"])
def test_missing_key(missing: str) -> None:
    row = {"id": "a", "path": "a", "kind": "video"}
    del row[missing]
    with pytest.raises(ManifestError, match=f"x:1: key '{missing}' is missing"):
        Clip.from_dict(row, where="x:1")


def test_row_that_is_no_object() -> None:
    with pytest.raises(ManifestError, match="expected an object, got list"):
        Clip.from_dict([], where="x:1")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        list(manifest.read(tmp_path / "absent.jsonl"))
    cut = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress(("x" * 100000 + "\n").encode())
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManifestError, match=r"cut\.jsonl\.gz:1: can't be read"):
        list(manifest.read(cut))
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe4"}')
    with pytest.raises(ManifestError, match="can't be read"):
        list(manifest.read(tmp_path / "latin.jsonl"))


def test_interrupted_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    manifest.write(path, [Clip(id="a", path="a", kind="video")])

    def rows() -> object:
        yield Clip(id="b", path="b", kind="video")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        manifest.write(path, rows())  # type: ignore[arg-type]
    assert [clip.id for clip in manifest.read(path)] == ["a"]
    assert list(tmp_path.iterdir()) == [path]


def test_validate_counts_and_names_problems(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    clips = [Clip(id="a", path=str(tmp_path / "a"), kind="audio", num_frames=16000, rate_hz=16000.0)] * 3
    clips.append(Clip(id="b", path=str(tmp_path / "gone"), kind="audio", end_seconds=2.0))
    report = manifest.validate(clips, expected_rows=5, check_media=True)
    assert (report.num_clips, report.total_seconds) == (4, 5.0)
    assert [p.split(";")[0] for p in report.problems] == [
        "id 'a' occurs more than once",
        f"{tmp_path / 'gone'}: no such file (clip 'b')",
        "4 rows, but 5 are published",
    ]
