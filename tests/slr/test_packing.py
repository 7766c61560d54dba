"""Packing: every frame in its place and like its source, spans, resuming, problems, and both containers."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from signwave.errors import ManifestError, MediaError
from signwave.manifest import Clip
from signwave.media.poses import probe_pose, read_pose
from signwave.media.video import open_video, write_video
from signwave.testing.corruption import numbered_frame, read_number
from slr.corpora import packing
from slr.corpora.packed_files import MAX_PSNR_DB, safe_name
from slr.corpora.packing import JOURNAL, PackSettings, pack, pack_all

SIZE = (64, 96)


def numbered(num_frames: int) -> NDArray[np.uint8]:
    return np.stack([numbered_frame(number, height_px=64, width_px=96) for number in range(num_frames)])


def folder_clip(tmp_path: Path, clip_id: str, num_frames: int, split: str = "train") -> Clip:
    folder = tmp_path / "raw" / safe_name(clip_id)
    folder.mkdir(parents=True)
    for number, frame in enumerate(numbered(num_frames)):
        Image.fromarray(frame).save(folder / f"{clip_id[-1]}.avi_pid0_fn{number:06d}-0.png")
    return Clip(id=clip_id, path=str(folder), kind="video", rate_hz=25.0, num_frames=num_frames, split=split, text="A")


def numbers(path: str) -> list[int]:
    with open_video(path) as video:
        return [read_number(frame) for frame in video.frames().pixels]


@pytest.mark.parametrize("container", ["video", "jpeg"])
def test_every_frame_is_kept_in_order(tmp_path: Path, container: packing.Container) -> None:
    clip = folder_clip(tmp_path, "a", 30)
    packed = pack(clip, tmp_path / "out", size_px=SIZE, container=container)
    assert numbers(packed.path) == list(range(30))
    assert dataclasses.replace(packed, path=clip.path, sha256="") == clip
    assert len(packed.sha256) == 64


@pytest.mark.parametrize("container", ["video", "jpeg"])
def test_pictures_are_brought_to_size_and_stay_alike(tmp_path: Path, container: packing.Container) -> None:
    clip = folder_clip(tmp_path, "a", 20)
    report = pack_all([clip], tmp_path / "out", settings=PackSettings((32, 48), container), show_progress=False)
    with open_video(clip.path, size_px=(32, 48)) as video:
        source = video.frames().pixels.astype(np.float64)
    with open_video(report.clips[0].path) as video:
        packed = video.frames().pixels.astype(np.float64)
    assert packed.shape == (20, 3, 32, 48)
    sample = [0, 16]  # every sixteenth frame
    truth = 10 * np.log10(255**2 / ((packed - source)[sample] ** 2).mean())
    assert report.psnr_min_db == report.psnr_mean_db == pytest.approx(truth, abs=1e-2)
    assert 25 < truth < MAX_PSNR_DB


@pytest.mark.parametrize("container", ["video", "jpeg"])
def test_a_span_becomes_a_clip_of_its_own(tmp_path: Path, container: packing.Container) -> None:
    path = write_video(tmp_path / "long.mp4", numbered(60).transpose(0, 3, 1, 2), fps=25, crf=10)
    clip = Clip(id="s", path=str(path), kind="video", start_seconds=0.8, end_seconds=1.6, num_frames=20, rate_hz=25.0)
    packed = pack(clip, tmp_path / "out", size_px=SIZE, container=container)
    assert numbers(packed.path) == list(range(20, 40))
    assert (packed.start_seconds, packed.end_seconds, packed.num_frames, packed.rate_hz) == (0.0, None, 20, 25.0)


def test_keypoints_are_cut_with_their_span(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "sign" / "poses" / "mediapipe.pose"
    info = probe_pose(source)
    path = write_video(tmp_path / "long.mp4", numbered(60).transpose(0, 3, 1, 2), fps=info.fps)
    span = {"start_seconds": 10 / info.fps, "end_seconds": 30 / info.fps}
    clip = Clip(id="s", path=str(path), kind="video", poses_path=str(source), **span)
    packed = pack(clip, tmp_path / "out", size_px=SIZE)
    cut, whole = read_pose(packed.poses_path, layout="hands"), read_pose(source, layout="hands", **span)
    np.testing.assert_array_equal(cut.points, whole.points)
    assert len(cut) == packed.num_frames == 20
    whole_clip = pack(dataclasses.replace(clip, start_seconds=0.0, end_seconds=None), tmp_path / "all", size_px=SIZE)
    assert whole_clip.poses_path == str(source)


def test_keypoints_beside_the_source_stay_known(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(8).transpose(0, 3, 1, 2), fps=25)
    (tmp_path / "a.pose").write_bytes(b"any")
    packed = pack(Clip(id="a", path=str(path), kind="video"), tmp_path / "out", size_px=SIZE)
    assert packed.poses_path == str(tmp_path / "a.pose")


def test_a_shard_holds_stored_pictures_in_folders(tmp_path: Path) -> None:
    clips = [folder_clip(tmp_path, name, 3) for name in ("-a", "b/c", "d")]
    settings = PackSettings(SIZE, "jpeg", clips_per_shard=2)
    report = pack_all(clips, tmp_path / "out", settings=settings, show_progress=False)
    shards = sorted((tmp_path / "out" / "train").glob("*.zip"))
    assert [shard.name for shard in shards] == ["shard-00000.zip", "shard-00001.zip"]
    with zipfile.ZipFile(shards[0]) as archive:
        assert archive.namelist() == [f"{name}/{i:06d}.jpg" for name in ("%2Da", "b%2Fc") for i in range(3)]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert report.clips[1].path == f"{shards[0]}::b%2Fc"
    assert [numbers(clip.path) for clip in report.clips] == [[0, 1, 2]] * 3


@pytest.mark.parametrize("container", ["video", "jpeg"])
def test_packing_again_reuses_what_is_done(tmp_path: Path, container: packing.Container) -> None:
    clips = [folder_clip(tmp_path, name, 4) for name in "abc"]
    settings = PackSettings(SIZE, container, clips_per_shard=1)
    first = pack_all(clips, tmp_path / "out", settings=settings, show_progress=False)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*") if path.name != JOURNAL}
    again = pack_all(clips, tmp_path / "out", settings=settings, show_progress=False)
    assert (again.clips, again.num_reused, again.num_bytes) == (first.clips, 3, first.num_bytes)
    assert again.psnr_mean_db == first.psnr_mean_db
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_what_changed_or_was_lost_is_packed_anew(tmp_path: Path) -> None:
    clips = [folder_clip(tmp_path, name, 4) for name in "abcd"]
    out = tmp_path / "out"
    settings = PackSettings(SIZE)
    first = pack_all(clips, out, settings=settings, show_progress=False)
    Path(first.clips[0].path).unlink()
    Path(first.clips[1].path).write_bytes(b"cut off")
    next(Path(clips[2].path).glob("*000003*")).unlink()
    again = pack_all(clips, out, settings=settings, show_progress=False)
    assert again.num_reused == 1
    assert [clip.num_frames for clip in again.clips] == [4, 4, 3, 4]
    assert pack_all(clips, out, settings=PackSettings(SIZE, crf=30), show_progress=False).num_reused == 0


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    clips = [folder_clip(tmp_path, name, 4) for name in "ab"]
    out = tmp_path / "out"
    pack_all(clips, out, settings=PackSettings(SIZE), show_progress=False)
    journal = out / JOURNAL
    journal.write_text(journal.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    again = pack_all(clips, out, settings=PackSettings(SIZE), show_progress=False)
    assert (again.num_reused, len(again.clips)) == (1, 2)
    assert pack_all(clips, out, settings=PackSettings(SIZE), show_progress=False).num_reused == 2


def test_a_moved_folder_is_still_known(tmp_path: Path) -> None:
    clips = [folder_clip(tmp_path, name, 4) for name in "ab"]
    pack_all(clips, tmp_path / "out", settings=PackSettings(SIZE), show_progress=False)
    (tmp_path / "out").rename(tmp_path / "moved")
    again = pack_all(clips, tmp_path / "moved", settings=PackSettings(SIZE), show_progress=False)
    assert again.num_reused == 2
    assert all(Path(clip.path).is_file() for clip in again.clips)


@pytest.mark.parametrize("container", ["video", "jpeg"])
def test_broken_clips_are_counted_and_the_others_kept(tmp_path: Path, container: packing.Container) -> None:
    clips = [folder_clip(tmp_path, name, 4) for name in "abc"]
    broken = sorted(Path(clips[1].path).iterdir())[2]
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    report = pack_all(clips, tmp_path / "out", settings=PackSettings(SIZE, container), show_progress=False)
    assert [clip.id for clip in report.clips] == ["a", "c"]
    (problem,) = report.problems
    assert problem.where == clips[1].path
    assert "2 of 4 frames can be decoded" in problem.reason
    assert problem.kind == "truncated"
    assert not list((tmp_path / "out").rglob("*b.mp4"))
    broken.write_bytes(content)
    mended = pack_all(clips, tmp_path / "out", settings=PackSettings(SIZE, container), show_progress=False)
    assert len(mended.clips) == 3


def test_one_broken_clip_raises_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for container in ("video", "jpeg"):
        with pytest.raises(MediaError, match=r"holds no \.png"):
            pack(Clip(id="x", path=str(folder), kind="video"), tmp_path / "out", size_px=SIZE, container=container)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_workers_pack_the_same_files(tmp_path: Path) -> None:
    clips = [folder_clip(tmp_path, name, 4) for name in "abcd"]
    reports = [
        pack_all(clips, tmp_path / str(num), settings=PackSettings(SIZE), num_workers=num, show_progress=False)
        for num in (0, 2)
    ]
    assert [clip.sha256 for clip in reports[0].clips] == [clip.sha256 for clip in reports[1].clips]
    assert len(reports[1].clips) == 4


def test_ids_become_safe_names() -> None:
    assert safe_name("S000020_P0004_T00") == "S000020_P0004_T00"
    assert safe_name("-a") == "%2Da"
    assert safe_name("..") == "%2E."
    assert safe_name("a/b::c") == "a%2Fb%3A%3Ac"
    long = [safe_name("ش" * 100 + end) for end in "ab"]
    assert max(map(len, long)) <= 180
    assert long[0] != long[1]


def test_reports_are_plain_values(tmp_path: Path) -> None:
    report = pack_all([folder_clip(tmp_path, "a", 4)], tmp_path / "o", settings=PackSettings(SIZE), show_progress=False)
    assert json.loads(json.dumps(report.to_dict()))["clips"] == 1
    assert report.summary().startswith("packed 1 clips (0 of them before)")


def test_what_cannot_be_packed_is_refused(tmp_path: Path) -> None:
    clip = folder_clip(tmp_path, "a", 2)
    with pytest.raises(ManifestError, match="two clips of split 'train' have the id 'a'"):
        pack_all([clip, clip], tmp_path / "o", settings=PackSettings(SIZE))
    with pytest.raises(ManifestError, match="is of kind 'pose'; only video is packed"):
        pack_all([dataclasses.replace(clip, kind="pose")], tmp_path / "o", settings=PackSettings(SIZE))
    with pytest.raises(ValueError, match=r"even for 'video', got \(63, 96\)"):
        PackSettings((63, 96))
    with pytest.raises(ValueError, match="must be 'video' or 'jpeg', got 'avi'"):
        PackSettings(SIZE, "avi")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keyframe_interval must be at least 1 frame, got 0"):
        write_video(tmp_path / "x.mp4", numbered(2).transpose(0, 3, 1, 2), fps=25, keyframe_interval=0)


def test_key_frames_come_as_often_as_asked(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = write_video(tmp_path / "k.mp4", numbered(30).transpose(0, 3, 1, 2), fps=25, keyframe_interval=6)
    with av.open(str(path)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert max(np.diff(np.flatnonzero([*keys, True]))) <= 6
