"""Frames in pieces equal the frames of a whole reading, at any rate, from files and from pipes."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from signwave.errors import MediaError
from slr.reading import Needs, read
from slr.sources import AtRate, live_source, open_source

sys.path.insert(0, str(Path(__file__).parent))
TINY = importlib.import_module("tiny_signs")
SIZE_PX, moving, write_moving = TINY.SIZE_PX, TINY.moving, TINY.write_moving


def needs(rate_hz: float | None) -> Needs:
    return Needs("frames", rate_hz, SIZE_PX)


@pytest.mark.parametrize("rate_hz", [25.0, 30.0, 12.5, 24.0, 50.0, 29.97, None])
@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_pieces_equal_the_whole(tmp_path: Path, fps: float, rate_hz: float | None) -> None:
    path = write_moving(tmp_path / "a.mp4", 75, fps=fps)
    whole = read(path, needs(rate_hz))
    for chunk_frames in (1, 7, 64):
        source = open_source(path, needs(rate_hz), chunk_frames=chunk_frames)
        pieces = [piece for piece in source.chunks if len(piece)]
        assert max(map(len, pieces)) <= chunk_frames * max(1.0, (rate_hz or fps) / fps) + 2
        np.testing.assert_array_equal(np.concatenate(pieces), whole.inputs)
        assert source.duration_seconds == pytest.approx(whole.duration_seconds)


def test_a_span_and_a_folder_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    path = write_moving(tmp_path / "a.mp4", 50)
    span = {"start_seconds": 0.5, "end_seconds": 1.3}
    pieces = list(open_source(path, needs(20.0), **span).chunks)
    np.testing.assert_array_equal(np.concatenate([p for p in pieces if len(p)]), read(path, needs(20.0), **span).inputs)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(moving(9)):
        Image.fromarray(picture.transpose(1, 2, 0)).save(folder / f"{number}.png")
    source = open_source(folder, needs(25.0))
    assert np.concatenate(list(source.chunks)).shape == (9, 3, *SIZE_PX)
    assert source.duration_seconds == pytest.approx(9 / 25)


def test_a_frame_goes_out_when_the_next_has_come() -> None:
    at_rate = AtRate(25.0, 12.5)
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, 1)
    given = [at_rate.push(frames[i : i + 1], np.asarray([i / 25 + 7])).ravel()[::3].tolist() for i in range(5)]
    assert given == [[], [0], [], [2], []]
    assert list(at_rate.finish()) == []  # round(5 / 25 * 12.5) = 2 frames in all
    faster = AtRate(10.0, 30.0)
    assert len(faster.push(frames[:2], np.asarray([0.0, 0.1]))) == 3
    assert [len(piece) for piece in faster.finish()] == [3]


def pipe(num_frames: int, container: str = "matroska") -> io.BytesIO:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream("libx264" if container != "yuv4mpegpipe" else "wrapped_avframe", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for picture in moving(num_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), format="rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    buffer.seek(0)
    return buffer


class OnlyForward:
    """What a pipe is: bytes in order."""

    def __init__(self, content: bytes) -> None:
        self.left = content

    def read(self, size: int) -> bytes:
        taken, self.left = self.left[: min(size, 1000)], self.left[min(size, 1000) :]
        return taken


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_a_pipe_is_read_as_it_comes(container: str) -> None:
    stream = OnlyForward(pipe(250, container).getvalue())
    total = len(stream.left)
    source = live_source(stream, needs(25.0))  # type: ignore[arg-type]
    first = next(source.chunks)
    assert first.shape == (1, 3, *SIZE_PX)
    assert len(stream.left) > 0.2 * total  # the first frame is out long before the last byte is in
    assert 1 + sum(len(piece) for piece in source.chunks) == 250
    assert source.duration_seconds == pytest.approx(10.0)


def test_a_bad_pipe_is_one_line() -> None:
    for content, text in ((b"", "no readable media file"), (b"nonsense" * 999, "no readable media file")):
        with pytest.raises(MediaError, match=rf"^-: .*{text}"):
            list(live_source(io.BytesIO(content), needs(25.0)).chunks)
    cut = pipe(250).getvalue()
    with pytest.raises(MediaError, match="-: "):
        list(live_source(io.BytesIO(cut[:400]), needs(25.0)).chunks)
