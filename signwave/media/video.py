"""Open videos, ask what they are, count their frames and write them.

    with open_video("clip.mp4", size_px=(112, 112)) as video:
        frames = video.frames(1.5, 4.0)

A path is a video file, a folder of PNG or JPEG frames, a zip archive of such frames, or `archive.zip::member` where the
member is a folder of frames or one video file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError, UserError
from signwave.media import decord
from signwave.media.frames import VideoFrames, VideoInfo
from signwave.media.images import PictureVideo, ZipStore
from signwave.media.limits import DEFAULT_LIMITS, Limits
from signwave.media.paths import local_file, local_folder, split_member
from signwave.media.pyav import PyavVideo
from signwave.media.source import OnShort, VideoSource
from signwave.rundir import atomic_path

__all__ = ["VideoFrames", "VideoInfo", "VideoSource", "count_frames", "open_video", "probe", "write_video"]

Backend = Literal["pyav", "decord", "auto"]
DEFAULT_PICTURE_FPS = 25.0
DEFAULT_CRF = 23


def open_video(
    path: str | Path,
    *,
    backend: Backend = "pyav",
    size_px: tuple[int, int] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_short: OnShort = "error",
    fps: float = DEFAULT_PICTURE_FPS,
    num_threads: int = 1,
    strict: bool = False,
) -> VideoSource:
    """Return a source of frames; the file is opened at the first read, in the process that reads.

    Args:
        path: a local file, folder or archive member; never an address.
        backend: "pyav" for everything; "decord" is the fast path, and falls back to PyAV by itself; "auto" takes
            decord if it is installed and the clip is short.
        size_px: (height, width) to decode at, or None for the stored size.
        limits: caps; a file over them is an error before it is decoded.
        on_short: what to do if fewer frames can be decoded than the file announces.
        fps: rate of a folder of pictures; video files know theirs.
        num_threads: decoder threads; 1 is right inside a loader worker.
        strict: treat damaged pictures that a decoder would patch up as the end of what can be decoded (PyAV only).

    Raises:
        MediaError: the path is missing or refused. What is wrong inside the file is found at the first read.
    """
    if backend not in ("pyav", "decord", "auto"):
        raise ValueError(f"backend must be 'pyav', 'decord' or 'auto', got {backend!r}")
    common: dict[str, Any] = {"size_px": size_px, "limits": limits, "on_short": on_short}
    name = str(path)
    for_files: dict[str, Any] = {"num_threads": num_threads, "strict": strict, **common}
    head, member = split_member(name)
    if member is None and Path(head).is_dir():
        return PictureVideo(name, local_folder(head), None, fps=fps, **common)
    file = local_file(head)
    if file.stat().st_size == 0:
        raise MediaError(path, "is an empty file of 0 bytes; fetch it again or leave it out", kind="empty")
    if member is not None or zipfile.is_zipfile(file):
        packed = _packed_video(name, file, member, limits)
        if packed is None:
            return PictureVideo(name, file, member, fps=fps, **common)
        return PyavVideo(name, packed, **for_files)
    if backend == "pyav" or strict or (backend == "auto" and not decord.available()):
        return PyavVideo(name, str(file), **for_files)
    if not decord.available():
        raise UserError("backend 'decord' needs decord2, which is not installed; run: pip install 'decord2>=3.4'")
    cap = limits.max_bytes if backend == "decord" else decord.AUTO_MAX_BYTES
    return decord.DecordVideo(name, str(file), max_decoded_bytes=cap, **for_files)


def probe(path: str | Path, *, limits: Limits = DEFAULT_LIMITS, fps: float = DEFAULT_PICTURE_FPS) -> VideoInfo:
    """Say what a video claims to be: reads the header and decodes one frame."""
    with open_video(path, limits=limits, fps=fps) as video:
        return video.info


def count_frames(
    path: str | Path, *, limits: Limits = DEFAULT_LIMITS, on_short: OnShort = "error", strict: bool = True
) -> int:
    """Decode everything once, holding little, and return the number of frames: the check of a file before it is used.

    Args:
        path: as for `open_video`.
        limits: caps.
        on_short: what to do if fewer frames can be decoded than announced.
        strict: also find flipped bits that change pictures without costing frames.

    Raises:
        MediaError: the file is damaged, cut off or over the limits.
    """
    with open_video(path, size_px=(16, 16), limits=limits, on_short=on_short, strict=strict) as video:
        return sum(len(piece) for piece in video.iter_frames())


def write_video(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]] | NDArray[np.uint8],
    *,
    fps: float,
    crf: int = DEFAULT_CRF,
    keyframe_interval: int | None = None,
    fast_decode: bool = False,
) -> Path:
    """Write an mp4 (h264, yuv420p, playable in browsers while it loads); a half-written file never has the name.

    Args:
        path: file to write.
        frames: (T, 3, H, W) uint8 RGB, or any iterable of (3, H, W) pictures; odd sides lose their last line.
        fps: frames per second.
        crf: quality, 0 (lossless) to 51.
        keyframe_interval: at most so many frames from one key frame to the next: smaller is larger, and quicker to
            jump into. None leaves it to the encoder (250).
        fast_decode: leave out what costs the decoder most (arithmetic coding, deblocking): about 10 % larger.
    """
    if not 0 < fps <= 1000:
        raise ValueError(f"fps must be above 0 and at most 1000, got {fps}")
    if keyframe_interval is not None and keyframe_interval < 1:
        raise ValueError(f"keyframe_interval must be at least 1 frame, got {keyframe_interval}")
    encoder = {"crf": str(crf)}
    if keyframe_interval is not None:
        encoder["g"] = str(keyframe_interval)
    if fast_decode:
        encoder["tune"] = "fastdecode"
    rate = Fraction(fps).limit_denominator(1001)
    options = {"movflags": "+faststart"}
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as container:
        stream: Any = None
        for picture in frames:
            pixels = _even(picture)
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=encoder)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            elif pixels.shape[:2] != (stream.height, stream.width):
                raise ValueError(
                    f"frames must be of one size, got {pixels.shape[:2]} after {(stream.height, stream.width)}"
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if stream is None:
            raise ValueError(f"no frames to write to {path}")
        container.mux(stream.encode(None))
    return Path(path)


def _even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if picture.ndim != 3 or picture.shape[0] != 3 or picture.dtype != np.uint8 or min(picture.shape[1:]) < 2:
        raise ValueError(f"a frame must be (3, H, W) uint8, got {picture.shape} {picture.dtype}")
    height, width = picture.shape[1] // 2 * 2, picture.shape[2] // 2 * 2
    return np.ascontiguousarray(picture[:, :height, :width].transpose(1, 2, 0))


def _packed_video(name: str, file: Path, member: str | None, limits: Limits) -> bytes | None:
    """Return the bytes of a video inside an archive, or None if the member is a folder of pictures."""
    if member is None:
        return None
    store = ZipStore(name, file, member, limits)
    try:
        return store.read(member) if store.has_file(member) else None
    finally:
        store.close()
