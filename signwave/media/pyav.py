"""Video through PyAV: the default back end, and the one for long files and for files nobody has checked yet."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.media.frames import TIME_TOLERANCE_SECONDS, Pixels, VideoInfo
from signwave.media.limits import Limits
from signwave.media.source import OnShort, Short, VideoSource

log = logging.getLogger(__name__)

DECODE_ERRORS = (av.FFmpegError, ValueError, OSError, RuntimeError, IndexError)
_REFUSED_FORMATS = ("hls", "dash", "concat", "webvtt", "sdp", "rtsp", "image2", "tty")
_FALLBACK_FPS = 25.0


class _Timeline(NamedTuple):
    ticks: NDArray[np.int64]
    key_ticks: NDArray[np.int64]


class _Opened(NamedTuple):
    container: InputContainer
    stream: VideoStream


def open_container(name: str, file: str | io.BytesIO) -> InputContainer:
    """Open a checked absolute path, or bytes; only FFmpeg's file protocol is allowed.

    Raises:
        MediaError: kind "unreadable", "empty" or "refused".
    """
    options = {"protocol_whitelist": "file"} if isinstance(file, str) else {}
    try:
        container: InputContainer = av.open(file, "r", options=options)
    except DECODE_ERRORS as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__  # without FFmpeg's error number
        text = text.splitlines()[0][:120]
        raise MediaError(name, f"is no readable media file ({text}); fetch it again or leave it out") from error
    if set(container.format.name.split(",")) & set(_REFUSED_FORMATS):
        kind = container.format.name
        container.close()
        raise MediaError(
            name, f"has the format {kind}, which points at other files; name the media file", kind="refused"
        )
    return container


class PyavVideo(VideoSource):
    """A video file, or one in memory, decoded frame by frame at the size that is asked for."""

    def __init__(
        self,
        path: str,
        file: str | bytes,
        *,
        size_px: tuple[int, int] | None,
        limits: Limits,
        on_short: OnShort,
        num_threads: int,
        strict: bool,
    ) -> None:
        super().__init__(path, size_px=size_px, limits=limits, on_short=on_short)
        self._file = file
        self._num_threads = num_threads
        self._strict = strict
        self._cached_timeline: _Timeline | None = None
        self._origin = 0
        self._converter: VideoReformatter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_converter": None}

    def _open(self) -> _Opened:
        container = open_container(self.path, io.BytesIO(self._file) if isinstance(self._file, bytes) else self._file)
        if not container.streams.video:
            container.close()
            raise MediaError(self.path, "has no video track; name a file with pictures", kind="no_stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = self._num_threads
        if self._strict:
            stream.codec_context.options = {"err_detect": "explode"}
        return _Opened(container, stream)

    def _close(self, handle: Any) -> None:
        handle.container.close()

    def _read_info(self) -> VideoInfo:
        container, stream = self._opened()
        context = stream.codec_context
        self.limits.check_picture(self.path, height_px=context.height, width_px=context.width)
        duration = _duration_seconds(container, stream)
        if duration is not None:
            self.limits.check_seconds(self.path, duration)
        self.limits.check_frames(self.path, stream.frames)
        first = self._first_frame(stream)
        quarter_turns = round((first.rotation or 0) / 90) % 4
        height, width = (first.height, first.width) if quarter_turns % 2 == 0 else (first.width, first.height)
        fps = float(stream.average_rate or stream.guessed_rate or 0) or _FALLBACK_FPS
        self._origin = first.pts if first.pts is not None else 0
        return VideoInfo(
            path=self.path,
            num_frames=stream.frames or None,
            fps=fps,
            height_px=height,
            width_px=width,
            duration_seconds=duration,
            codec=context.name,
            rotation_degrees=90 * quarter_turns,
            has_audio=bool(container.streams.audio),
        )

    def _first_frame(self, stream: VideoStream) -> VideoFrame:
        cause: BaseException | None = None
        try:
            for frame in self._decoded():
                self.limits.check_picture(self.path, height_px=frame.height, width_px=frame.width)
                return frame
        except Short as error:
            cause = error.__cause__
        duration = _duration_seconds(self._opened().container, stream)
        by_time = round(duration * float(stream.average_rate)) if duration and stream.average_rate else 0
        raise self._short_error(0, stream.frames or by_time, cause or ValueError("not one frame")) from cause

    def _times(self) -> NDArray[np.float64]:
        base = float(self._opened().stream.time_base)
        return np.asarray((self._timeline().ticks - self._origin) * base, dtype=np.float64)

    def _timeline(self) -> _Timeline:
        """Times of all packets: read, not decoded. Frames come out in this order, whatever order they are stored in."""
        if self._cached_timeline is None:
            _ = self.info
            self._rewind()
            container, stream = self._opened()
            packets: list[tuple[int | None, bool]] = []
            try:
                for packet in container.demux(stream):
                    if packet.size and not packet.is_discard:
                        packets.append((packet.pts, packet.is_keyframe))
                        self.limits.check_frames(self.path, len(packets))
            except DECODE_ERRORS as error:
                log.debug("%s: reading packets stopped: %s", self.path, error)
            if any(pts is None for pts, _ in packets):
                # AVI and raw streams hold no presentation times: the decoder has to be asked.
                packets = self._decoded_ticks()
            packets = [(pts, key) for pts, key in packets if pts is not None and pts >= self._origin]
            ticks = sorted(pts for pts, _ in packets if pts is not None)
            keys = sorted(pts for pts, key in packets if key and pts is not None)
            self._cached_timeline = _Timeline(np.asarray(ticks, dtype=np.int64), np.asarray(keys, dtype=np.int64))
        return self._cached_timeline

    def _decoded_ticks(self) -> list[tuple[int | None, bool]]:
        ticks: list[tuple[int | None, bool]] = []
        try:
            for frame in self._from_start():
                ticks.append((frame.pts, frame.key_frame))
        except Short as error:
            log.debug("%s: decoding stopped: %s", self.path, error.__cause__)
        return ticks

    def _decode(self, start_seconds: float, end_seconds: float | None) -> Iterator[tuple[float, Pixels]]:
        _ = self.info
        base = float(self._opened().stream.time_base)
        start = start_seconds - TIME_TOLERANCE_SECONDS
        end = math.inf if end_seconds is None else end_seconds - TIME_TOLERANCE_SECONDS
        for frame in self._from(self._origin + math.floor(start_seconds / base)):
            pts = (_tick(frame) - self._origin) * base
            if pts >= end:
                return
            if pts >= start:
                yield pts, self._picture(frame)

    def _decode_indices(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, Pixels]]:
        timeline = self._timeline()
        frames: Iterator[VideoFrame] = iter(())
        position = -(2**62)
        for index in indices:
            tick = int(timeline.ticks[index])
            key = int(np.searchsorted(timeline.key_ticks, tick, side="right")) - 1
            if position == -(2**62) or (key >= 0 and timeline.key_ticks[key] > position):
                frames = self._from(tick)
            for frame in frames:
                position = _tick(frame)
                if position >= tick:
                    break
            if position != tick:
                raise Short from ValueError(f"frame {index} of {len(timeline.ticks)} doesn't come out of the decoder")
            yield int(index), self._picture(frame)

    def _from(self, tick: int) -> Iterator[VideoFrame]:
        """Decode from a key frame at or before `tick`.

        Frames that leave the decoder before that key frame lean on pictures before the point we jumped to; they are
        dropped, and where that leaves nothing at or before `tick` the jump goes further back.
        """
        stream = self._opened().stream
        back = 0
        while tick - back > self._origin:
            try:
                self._opened().container.seek(tick - back, stream=stream, backward=True)
            except DECODE_ERRORS:
                break
            frames = self._decoded()
            try:
                first = next((frame for frame in frames if frame.key_frame), None)
            except Short:
                break
            if first is not None and _tick(first) <= tick:
                yield first
                yield from frames
                return
            back = max(2 * back, int(1 / stream.time_base))
        yield from self._from_start()

    def _from_start(self) -> Iterator[VideoFrame]:
        self._rewind()
        yield from self._decoded()

    def _rewind(self) -> None:
        """Go back to the first packet by opening again: not every container can jump, and none loses frames so."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._close(handle)
        self._opened()

    def _decoded(self) -> Iterator[VideoFrame]:
        """Decode onwards; every frame has a time."""
        container, stream = self._opened()
        count = 0
        try:
            for frame in container.decode(stream):
                if frame.pts is None:
                    tick = 1 / (float(stream.average_rate or _FALLBACK_FPS) * float(stream.time_base))
                    frame.pts = frame.dts if frame.dts is not None else round(count * tick)
                count += 1
                yield frame
        except DECODE_ERRORS as error:
            raise Short from error

    def _picture(self, frame: VideoFrame) -> Pixels:
        """Convert to upright RGB at the wanted size in one pass."""
        if frame.height * frame.width > self.limits.max_pixels:
            self.limits.check_picture(self.path, height_px=frame.height, width_px=frame.width)
        quarter_turns = self.info.rotation_degrees // 90
        height, width = self.height_px, self.width_px
        if quarter_turns % 2:
            height, width = width, height
        # One converter for all frames: making one a frame takes longer than decoding it. One thread: it would otherwise
        # start a pool, which a forked loader worker inherits without its threads and waits for.
        if self._converter is None:
            self._converter = VideoReformatter()
        upright = self._converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        pixels = np.asarray(upright.to_ndarray(), dtype=np.uint8)
        return np.rot90(pixels, quarter_turns) if quarter_turns else pixels


def _tick(frame: VideoFrame) -> int:
    return 0 if frame.pts is None else int(frame.pts)  # `_decoded` has given every frame a time


def _duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska keeps a track's length as text
    try:
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return container.duration / av.time_base if container.duration and container.duration > 0 else None
