"""Clips as streams of what a model reads: in pieces, at the model's rate, never a whole video in memory."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError, UserError
from signwave.media.frames import Pixels
from signwave.media.limits import DEFAULT_LIMITS
from signwave.media.paths import local_file, split_member
from signwave.media.video import DEFAULT_PICTURE_FPS, open_video
from slr.reading import POSE_SUFFIX, Needs, find_poses, read

CHUNK_FRAMES = 32
"""Frames decoded at once from a file."""
_SAME_RATE = 1e-3
_TOLERANCE_SECONDS = 1e-4  # as slr.reading.nearest_frames


@dataclass
class Source:
    """A clip on its way into a model; read once.

    Attributes:
        chunks: (T, …) each, consecutive; see slr.models.interface.Reads.
        points: (T, 63, 3) float32 keypoints beside frames, for the whole clip; None where there are none.
        duration_seconds: of what has been read so far.
        warnings: what the user should know.
    """

    chunks: Iterator[NDArray[Any]]
    points: NDArray[np.float32] | None = None
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def open_source(
    path: str | Path,
    needs: Needs,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    poses_path: str = "",
    chunk_frames: int = CHUNK_FRAMES,
) -> Source:
    """Open a clip, or a span of it, with the frames that `slr.reading.read` gives.

    Args:
        path: a video (file, folder of pictures, archive member) or a `.pose` file.
        needs: what the model wants.
        start_seconds: first instant.
        end_seconds: instant to stop before; None is the end of the file.
        poses_path: keypoints of a video; "" takes the `.pose` file of its name beside it, where there is one.
        chunk_frames: frames decoded at once.

    Raises:
        MediaError: the file can't be used, or doesn't hold what the model reads; inside a video this shows when its
            chunks are read.
    """
    span: dict[str, Any] = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    if "frames" not in needs.reads or (needs.reads == "frames" and Path(path).suffix.lower() == POSE_SUFFIX):
        with _poses_path(path, needs, poses_path) as poses:
            reading = read(path, needs, poses_path=poses, **span)
        return Source(iter([reading.inputs]), reading.points, reading.duration_seconds, reading.warnings)
    source = Source(iter(()))
    if needs.reads == "frames+keypoints":
        if Path(path).suffix.lower() == POSE_SUFFIX:
            alone = read(path, Needs("keypoints", needs.rate_hz), **span)
            warning = ("no frames, only its keypoints are read; give the video of its name",)
            return Source(iter([alone.inputs]), None, alone.duration_seconds, warning)
        _add_points(source, path, needs, poses_path, span)
    source.chunks = _file_chunks(source, path, needs, start_seconds, end_seconds, chunk_frames)
    return source


def live_source(stream: BinaryIO, needs: Needs, *, name: str = "-") -> Source:
    """Frames out of a pipe as they come: any container that can be read from front to end (y4m, mkv, ts, webm).

    Raises:
        MediaError: no video comes; shows when the chunks are read.
    """
    source = Source(iter(()))
    if needs.reads == "frames+keypoints":
        source.warnings = (f"{name}: a pipe brings no keypoints, only its frames are read",)
    source.chunks = _live_chunks(source, stream, needs, name)
    return source


@contextlib.contextmanager
def _poses_path(path: str | Path, needs: Needs, poses_path: str) -> Iterator[str]:
    """Keypoints of a video that has none beside it: extracted for as long as they are read, where that can be done."""
    if needs.reads not in ("hands", "keypoints") or find_poses(path, poses_path) is not None:
        yield poses_path
        return
    if not Path(path).is_dir():
        local_file(split_member(path)[0])  # a name that is wrong is said to be, before anything else
    from slr.keypoints.extraction import extract
    from slr.keypoints.imports import pose_path

    with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
        try:
            report = extract({"clip": path}, folder, picture_fps=needs.rate_hz or DEFAULT_PICTURE_FPS)
        except UserError as error:
            name = f"{Path(path).stem}{POSE_SUFFIX}"
            reason = f"is a video, and this model reads poses; put {name} beside it, or have them extracted: {error}"
            raise MediaError(path, reason, kind="refused") from error
        if report.problems:
            raise MediaError(path, f"its keypoints can't be extracted: {report.problems[0].reason}")
        yield str(pose_path(folder, "clip"))


def _add_points(source: Source, path: str | Path, needs: Needs, poses_path: str, span: dict[str, Any]) -> None:
    poses = find_poses(path, poses_path)
    if poses is None:
        name = f"{Path(path).stem}{POSE_SUFFIX}"
        source.warnings = (f"no keypoints beside it, only its frames are read; put {name} there",)
    else:
        source.points = read(poses, Needs("keypoints", needs.rate_hz), **span).inputs


def _file_chunks(
    source: Source, path: str | Path, needs: Needs, start_seconds: float, end_seconds: float | None, chunk_frames: int
) -> Iterator[NDArray[Any]]:
    fps = needs.rate_hz or DEFAULT_PICTURE_FPS
    with open_video(path, size_px=needs.size_px, fps=fps) as video:
        at_rate = AtRate(video.fps, needs.rate_hz)
        for piece in video.iter_frames(start_seconds, end_seconds, num_frames=chunk_frames):
            source.duration_seconds += len(piece) / video.fps
            yield at_rate.push(piece.pixels, piece.pts_seconds)
        yield from at_rate.finish()


def _live_chunks(source: Source, stream: BinaryIO, needs: Needs, name: str) -> Iterator[NDArray[Any]]:
    from av.video.reformatter import VideoReformatter

    from signwave.media.pyav import DECODE_ERRORS, open_container

    converter = VideoReformatter()  # one for all frames, see PyavVideo
    with open_container(name, cast(io.BytesIO, _Pipe(stream))) as container:
        if not container.streams.video:
            raise MediaError(name, "has no video track; pipe a stream with pictures", kind="no_stream")
        track = container.streams.video[0]
        track.codec_context.thread_count = 1  # more would hold frames back
        rate_hz = float(track.average_rate or track.guessed_rate or 0) or DEFAULT_PICTURE_FPS
        at_rate = AtRate(rate_hz, needs.rate_hz)
        height, width = needs.size_px or (track.codec_context.height, track.codec_context.width)
        num_frames = 0
        try:
            for frame in container.decode(track):
                DEFAULT_LIMITS.check_picture(name, height_px=frame.height, width_px=frame.width)
                pts = num_frames / rate_hz if frame.pts is None else float(frame.pts * track.time_base)
                num_frames += 1
                source.duration_seconds = num_frames / rate_hz
                picture = converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
                yield at_rate.push(picture.to_ndarray().transpose(2, 0, 1)[None], np.asarray([pts]))
        except DECODE_ERRORS as error:
            detail = str(error).splitlines()[0][:120]
            raise MediaError(name, f"the stream broke off after {num_frames} frames ({detail})") from error
        if not num_frames:
            raise MediaError(name, "brought no frame; pipe a video", kind="empty")
        yield from at_rate.finish()


class _Pipe:
    """A stream of which FFmpeg sees nothing but its bytes in order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", stream.read)  # read1 gives what is there instead of waiting for all

    def read(self, size: int = -1) -> bytes:
        """What is there, at most `size` bytes; empty at the end."""
        return bytes(self._read(size))


class AtRate:
    """Frames at another rate, as they come: at each time the one on screen, as `slr.reading` chooses.

    Args:
        from_hz: rate of the frames that come.
        to_hz: rate of those that go out; None leaves them as they are.
    """

    def __init__(self, from_hz: float, to_hz: float | None) -> None:
        self._from_hz = from_hz
        self._to_hz = None if to_hz is None or abs(to_hz - from_hz) < _SAME_RATE * from_hz else to_hz
        self._first_pts: float | None = None
        self._held: tuple[float, Pixels] | None = None
        self._num_in = self._num_out = 0

    def push(self, pixels: Pixels, pts_seconds: NDArray[np.float64]) -> Pixels:
        """Take the next frames and give those whose turn is over.

        Args:
            pixels: (T, 3, H, W) uint8.
            pts_seconds: (T,) float64, rising.

        Returns:
            (T', 3, H, W) uint8, T' may be 0.
        """
        self._num_in += len(pixels)
        if self._to_hz is None or not len(pixels):
            return pixels
        if self._first_pts is None:
            self._first_pts = float(pts_seconds[0])
        times = pts_seconds - self._first_pts
        if self._held is not None:
            times = np.concatenate([[self._held[0]], times])
            pixels = np.concatenate([self._held[1], pixels])
        # A frame is on screen until the next one comes, so the last one's turn isn't over.
        wanted = np.arange(self._num_out, max(self._num_out, int(times[-1] * self._to_hz) + 1)) / self._to_hz
        wanted = wanted[wanted + _TOLERANCE_SECONDS < times[-1]]
        chosen: NDArray[np.int64] = np.maximum(np.searchsorted(times, wanted + _TOLERANCE_SECONDS, side="right") - 1, 0)
        self._num_out += len(chosen)
        self._held = (float(times[-1]), pixels[-1:].copy())
        return np.asarray(pixels[chosen])

    def finish(self) -> Iterator[Pixels]:
        """What the last frame still stands for: (T', 3, H, W) uint8, or nothing."""
        if self._to_hz is None or self._held is None:
            return
        total = max(1, round(self._num_in / self._from_hz * self._to_hz))
        if total > self._num_out:
            yield np.repeat(self._held[1], total - self._num_out, axis=0)
