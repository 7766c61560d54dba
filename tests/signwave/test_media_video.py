"""Every back end on the good and the damaged files: the right frames, or an error that names the file."""

import gc
import multiprocessing
import os
import pickle
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from signwave.errors import MediaError
from signwave.media.limits import Limits
from signwave.media.video import VideoFrames, VideoSource, count_frames, open_video, probe, write_video
from signwave.testing.corruption import Case, encode_numbered, make_set, numbered_frame, read_number

BACKENDS = ("pyav", "decord", "auto")
GOOD = (
    *("good.mp4", "phoenix.mp4", "vfr.mp4", "rotated.mp4", "vp9.webm", "hevc.mp4"),
    *("one_frame.mp4", "ten_bit.mp4", "mpeg4.avi", "av1.mp4"),
)
BAD = (
    *("truncated_no_moov.mp4", "truncated_faststart.mp4", "heavy_flips.mp4", "moov_flips.mp4"),
    *("zero_bytes.mp4", "random_bytes.mp4", "audio_only.wav", "audio_only.mp4"),
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return make_set(tmp_path_factory.mktemp("corruption"))


def numbers(frames: VideoFrames) -> list[int]:
    return [read_number(frame) for frame in frames.pixels]


def times_of(case: Case) -> np.ndarray:
    return np.asarray(case.pts_seconds or np.arange(case.num_frames) / 25)


def some(case: Case, name: str) -> Case:
    if name not in case:
        pytest.skip("the encoder is not in this build of FFmpeg")
    return case[name]


def test_the_set_is_small_and_the_code_survives_resizing(cases: dict[str, Case]) -> None:
    assert sum(case.path.stat().st_size for case in cases.values()) < 5_000_000
    assert set(BAD) | set(GOOD) - {"av1.mp4"} | {"light_flips.mp4"} <= set(cases)
    for number in (0, 1, 499, 4095):
        assert read_number(numbered_frame(number, height_px=96, width_px=128).transpose(2, 0, 1)) == number


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GOOD)
def test_good_files_give_every_frame(name: str, backend: str, cases: dict[str, Case]) -> None:
    case = some(cases, name)
    with open_video(case.path, backend=backend) as video:
        frames = video.frames()
        assert frames.pixels.shape == (case.num_frames, 3, case.height_px, case.width_px)
        assert frames.pixels.dtype == np.uint8
        assert frames.pts_seconds.dtype == np.float64
        assert numbers(frames) == list(range(case.num_frames))
        np.testing.assert_allclose(frames.pts_seconds, times_of(case), atol=2e-3)
        assert video.num_frames == case.num_frames
        assert (video.height_px, video.width_px) == (case.height_px, case.width_px)
    assert count_frames(case.path) == case.num_frames


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GOOD)
def test_random_access_equals_sequential(name: str, backend: str, cases: dict[str, Case]) -> None:
    case = some(cases, name)
    rng = np.random.default_rng(0)
    times = times_of(case)
    wanted = rng.integers(0, case.num_frames, 12)
    with open_video(case.path, backend=backend, size_px=(48, 64)) as video:
        frames = video.frames_at(wanted)
        assert frames.pixels.shape == (12, 3, 48, 64)
        assert numbers(frames) == wanted.tolist()
        np.testing.assert_allclose(frames.pts_seconds, times[wanted], atol=2e-3)
        # By time: the last frame whose own time is at or before it, against a plain search.
        instants = rng.uniform(0, times[-1] + 0.009, 12)
        expected = [max(i for i, time in enumerate(times) if time <= instant + 1e-4) for instant in instants]
        assert numbers(video.frames_at_seconds(instants)) == expected
        assert numbers(video.frames_at_seconds(times[wanted])) == wanted.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GOOD)
def test_neighbouring_spans_share_no_frame_and_miss_none(name: str, backend: str, cases: dict[str, Case]) -> None:
    case = some(cases, name)
    times = times_of(case)
    middle = float(times[case.num_frames // 3]) if case.num_frames > 1 else 0.02
    with open_video(case.path, backend=backend) as video:
        left = video.frames(0, middle)
        assert numbers(left) == [i for i, time in enumerate(times) if time < middle - 1e-4]
        if case.num_frames > 1:
            assert numbers(left) + numbers(video.frames(middle)) == list(range(case.num_frames))
            span = (middle + 0.2, middle + 0.5)
            inside = [i for i, time in enumerate(times) if span[0] - 1e-3 <= time < span[1] - 1e-3]
            assert numbers(video.frames(*span)) == inside


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_errors_that_name_them(name: str, backend: str, cases: dict[str, Case]) -> None:
    case = cases[name]
    with pytest.raises(MediaError, match=name) as caught, open_video(case.path, backend=backend) as video:
        video.frames()
    assert "\n" not in str(caught.value)
    with pytest.raises(MediaError, match=name), open_video(case.path, backend=backend) as video:
        video.frames_at([0, 400])
    with pytest.raises(MediaError, match=name):
        count_frames(case.path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_broken_tables_say_5_of_500(backend: str, cases: dict[str, Case]) -> None:
    path = cases["moov_flips.mp4"].path
    for read in (VideoSource.frames, lambda video: video.frames(0, 2), lambda video: video.frames_at([0])):
        with (
            pytest.raises(MediaError, match=r"5 of (500|50) frames") as caught,
            open_video(path, backend=backend) as video,
        ):
            read(video)
        assert caught.value.kind == "truncated"
        assert caught.value.frames_obtained == 5
    with open_video(path, backend=backend) as video:
        assert numbers(video.frames(0, 0.1)) == [0, 1, 2]  # what was asked for is all there


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("zero_bytes.mp4", "empty"),
        ("random_bytes.mp4", "unreadable"),
        ("truncated_no_moov.mp4", "unreadable"),
        ("truncated_faststart.mp4", "truncated"),
        ("audio_only.mp4", "no_stream"),
        ("audio_only.wav", "no_stream"),
    ],
)
def test_kinds_of_damage(name: str, kind: str, cases: dict[str, Case]) -> None:
    with pytest.raises(MediaError, match=name) as caught, open_video(cases[name].path) as video:
        video.frames()
    assert caught.value.kind == kind


@pytest.mark.parametrize("backend", BACKENDS)
def test_silent_damage_keeps_the_count_and_a_strict_read_finds_it(backend: str, cases: dict[str, Case]) -> None:
    case = cases["light_flips.mp4"]
    found: int | str
    try:
        with open_video(case.path, backend=backend) as video:
            found = len(video.frames())
    except MediaError as error:  # another encoder build may put the flips where they cost frames: then it must say so
        found = str(error)
    assert found == case.num_frames or f"of {case.num_frames} frames" in str(found)
    with pytest.raises(MediaError, match="of 500 frames"):
        count_frames(case.path)
    with pytest.raises(MediaError, match="of 500 frames"), open_video(case.path, backend=backend, strict=True) as video:
        video.frames()


def test_on_short_policies(cases: dict[str, Case], caplog: pytest.LogCaptureFixture) -> None:
    path = cases["truncated_faststart.mp4"].path
    with open_video(path, on_short="keep") as video:
        kept = video.frames()
    assert 100 < len(kept) < 400
    assert numbers(kept) == list(range(len(kept)))
    assert not caplog.records
    with open_video(path, on_short="warn") as video:
        assert len(video.frames()) == len(kept)
    assert f"{len(kept)} of 500 frames" in caplog.text
    with open_video(path) as video:  # the part before the cut is fine
        assert numbers(video.frames(1.0, 2.0)) == list(range(25, 50))
    with open_video(path) as video, pytest.raises(MediaError, match=r"of (500|50) frames"):
        video.frames(18.0, 20.0)


def test_a_webm_that_was_cut_off_is_an_error(cases: dict[str, Case], tmp_path: Path) -> None:
    path = encode_numbered(tmp_path / "long.webm", 200, codec="libvpx-vp9", options={"deadline": "realtime"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="of 200 frames"), open_video(path) as video:
        video.frames()


def test_a_clip_trimmed_by_an_edit_list_is_whole(tmp_path: Path) -> None:
    path = encode_numbered(tmp_path / "a.mp4", 100, options={"g": "10"})
    data = bytearray(path.read_bytes())
    where = data.index(b"elst") + 12
    timescale = 1000
    duration, media_time = struct.unpack(">Ii", data[where : where + 8])
    assert duration == 4 * timescale
    ticks = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    data[where : where + 8] = struct.pack(">Ii", 2 * timescale, media_time + 1 * ticks)
    path.write_bytes(data)
    for backend in BACKENDS:
        with open_video(path, backend=backend) as video:
            frames = video.frames()
            assert numbers(frames) == list(range(25, 75))
            assert frames.pts_seconds[0] == 0
            assert numbers(video.frames_at([0, 49])) == [25, 74]


@pytest.mark.parametrize("backend", BACKENDS)
def test_decoding_at_a_size_is_upright_and_piecewise_the_same(backend: str, cases: dict[str, Case]) -> None:
    with open_video(cases["rotated.mp4"].path, backend=backend, size_px=(60, 100)) as video:
        whole = video.frames()
        pieces = list(video.iter_frames(num_frames=7))
    assert whole.pixels.shape == (50, 3, 60, 100)
    assert numbers(whole) == list(range(50))
    assert [len(piece) for piece in pieces] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate([piece.pixels for piece in pieces]), whole.pixels)


def test_probe_says_what_the_file_is(cases: dict[str, Case]) -> None:
    info = probe(cases["rotated.mp4"].path)
    assert (info.num_frames, info.fps, info.height_px, info.width_px, info.codec) == (50, 25.0, 96, 128, "h264")
    assert info.rotation_degrees == 270
    assert not info.has_audio
    assert probe(cases["vp9.webm"].path).num_frames is None
    assert probe(cases["vp9.webm"].path).announced_frames == 60


def test_wrong_arguments_are_value_errors(cases: dict[str, Case]) -> None:
    path = cases["good.mp4"].path
    with pytest.raises(ValueError, match="'pyav', 'decord' or 'auto'"):
        open_video(path, backend="opencv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size_px"):
        open_video(path, size_px=(0, 10))
    with open_video(path) as video:
        with pytest.raises(ValueError, match=r"within \[0, 500\)"):
            video.frames_at([500])
        with pytest.raises(ValueError, match=r"within \[0, 500\)"):
            video.frames_at([-1])
        with pytest.raises(ValueError, match="within"):
            video.frames_at_seconds([21.0])
        with pytest.raises(ValueError, match="0 <= start < end"):
            video.frames(2, 1)
        with pytest.raises(MediaError, match=r"20\.00 s long") as caught:
            video.frames(30, 40)
        assert caught.value.kind == "empty"
        assert len(video.frames_at([])) == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(max_pixels=100), "128 x 96 pixels"),
        (Limits(max_seconds=1), "20 s"),
        (Limits(max_frames=10), "500 frames"),
        (Limits(max_bytes=1000), "MiB decoded"),
    ],
)
def test_caps_hold(limits: Limits, text: str, backend: str, cases: dict[str, Case]) -> None:
    with (
        pytest.raises(MediaError, match=text) as caught,
        open_video(cases["good.mp4"].path, backend=backend, limits=limits) as video,
    ):
        video.frames()
    assert caught.value.kind == "too_large"


def blank_video(path: Path, side_px: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height = stream.width = side_px
        stream.codec_context.thread_count = 1
        container.mux(stream.encode(av.VideoFrame(side_px, side_px, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def test_a_bomb_of_huge_pictures_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blank_video(tmp_path / "bomb.mp4", 8192)
    assert path.stat().st_size < 1_000_000

    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("signwave.media.pyav.PyavVideo._decoded", never)
    with pytest.raises(MediaError, match="8192 x 8192 pixels") as caught:
        probe(path)
    assert caught.value.kind == "too_large"


def test_caps_hold_against_a_lying_header(cases: dict[str, Case]) -> None:
    # The header of a webm holds no count of frames.
    with (
        open_video(cases["vp9.webm"].path, limits=Limits(max_frames=10)) as video,
        pytest.raises(MediaError, match="over the limit max_frames=10"),
    ):
        video.frames()


def _read_in_child(video: VideoSource, indices: list[int], answers: "multiprocessing.Queue[list[int]]") -> None:
    answers.put(numbers(video.frames_at(indices)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_source_opened_before_a_fork_reads_right_in_every_child(
    backend: str, num_threads: int, cases: dict[str, Case]
) -> None:
    gc.collect()  # encoders that earlier tests left in tracebacks have threads, which a child would wait for in vain
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(0)
    with open_video(cases["good.mp4"].path, backend=backend, num_threads=num_threads) as video:
        video.frames_at([3])
        wanted = [rng.integers(0, 500, 20).tolist() for _ in range(3)]
        for indices in wanted:
            answers: multiprocessing.Queue[list[int]] = context.Queue()
            child = context.Process(target=_read_in_child, args=(video, indices, answers))
            child.start()
            assert answers.get(timeout=30) == indices
            child.join(30)
            assert child.exitcode == 0
        assert numbers(video.frames_at([7, 8])) == [7, 8]


def test_a_source_survives_pickling_and_closing(cases: dict[str, Case]) -> None:
    video = open_video(cases["good.mp4"].path)
    assert numbers(video.frames_at([3])) == [3]
    again = pickle.loads(pickle.dumps(video))
    assert numbers(again.frames_at([4])) == [4]
    video.close()
    video.close()
    assert numbers(video.frames_at([5])) == [5]


def test_no_open_file_is_left(cases: dict[str, Case]) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = open_files()
    for name in ("good.mp4", "moov_flips.mp4", "audio_only.mp4"):
        for backend in BACKENDS:
            try:
                with open_video(cases[name].path, backend=backend) as video:
                    video.frames_at([0])
            except MediaError:
                pass
    gc.collect()
    assert open_files() <= before


def test_decord_failures_fall_back_to_pyav(cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch) -> None:
    import decord

    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __len__(self) -> int:
            return 500

        def get_batch(self, indices: list[int]) -> object:
            raise decord.DECORDError("one bad frame")

    monkeypatch.setattr(decord, "VideoReader", Broken)
    with open_video(cases["good.mp4"].path, backend="decord") as video:
        assert numbers(video.frames_at([499, 1])) == [499, 1]
        assert numbers(video.frames(1, 2)) == list(range(25, 50))


def test_written_videos_read_back(tmp_path: Path) -> None:
    pictures = np.stack([numbered_frame(i, height_px=97, width_px=129).transpose(2, 0, 1) for i in range(30)])
    path = write_video(tmp_path / "new" / "out.mp4", pictures, fps=29.97)
    assert [entry.name for entry in path.parent.iterdir()] == ["out.mp4"]
    with open_video(path) as video:
        assert numbers(video.frames()) == list(range(30))
        assert (video.height_px, video.width_px) == (96, 128)
        assert abs(video.fps - 29.97) < 0.01
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    write_video(path, iter(pictures[:3]), fps=10)
    assert probe(path).num_frames == 3


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    pictures = [np.zeros((3, 16, 16), np.uint8), np.zeros((3, 32, 16), np.uint8)]
    path = write_video(tmp_path / "out.mp4", pictures[:1], fps=5)
    before = path.read_bytes()
    for frames, text in ((pictures, "of one size"), ([], "no frames"), ([np.zeros((3, 16, 16))], "uint8")):
        with pytest.raises(ValueError, match=text):
            write_video(path, frames, fps=5)
    with pytest.raises(ValueError, match="fps"):
        write_video(path, pictures[:1], fps=0)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_clips(backend: str, shared_data: Path) -> None:
    clips = [
        *sorted((shared_data / "sign/how2sign_samples").glob("*.mp4"))[:3],
        shared_data / "sign/videos/test_video.mp4",
    ]
    for path in clips:
        info = probe(path)
        assert info.num_frames == count_frames(path)
        with open_video(path, backend=backend, size_px=(112, 112)) as video:
            frames = video.frames()
            assert len(frames) == info.num_frames
            picked = video.frames_at([0, len(frames) // 2, len(frames) - 1])
        np.testing.assert_array_equal(picked.pixels, frames.pixels[[0, len(frames) // 2, -1]])
