"""`VideoSource`: one interface to the frames of a video file, a frame folder or an archive member.

A source is opened when it is first read, in the process that reads it, and closed by the `with` block. Time 0 is the
first frame. An interval [start, end) holds the frames whose own time lies in it, so neighbouring intervals share none.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.media.frames import TIME_TOLERANCE_SECONDS, FrameBuffer, Pixels, VideoFrames, VideoInfo, span_mask
from signwave.media.limits import Limits

log = logging.getLogger(__name__)

OnShort = Literal["error", "warn", "keep"]
UNCOUNTED_TOLERANCE_SECONDS = 0.5
UNCOUNTED_TOLERANCE = 0.05

_abandoned: list[Any] = []  # Decoders inherited through fork: closing them would wait for threads that don't exist.


class Short(Exception):
    """Decoding stopped before its end; the cause is chained. A signal from a back end, never seen by a caller."""


class VideoSource(ABC):
    """Frames of one video by time and by number. Make one with `signwave.media.video.open_video`."""

    def __init__(self, path: str, *, size_px: tuple[int, int] | None, limits: Limits, on_short: OnShort) -> None:
        if size_px is not None and min(size_px) < 1:
            raise ValueError(f"size_px must be (height, width) of at least 1, got {size_px}")
        self.path = path
        self.limits = limits
        self._size_px = size_px
        self._on_short = on_short
        self._handle: Any = None
        self._owner = 0
        self._info: VideoInfo | None = None

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}

    def close(self) -> None:
        """Close the file; reading again opens it again."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if self._owner != os.getpid():
            _abandoned.append(handle)
        else:
            self._close(handle)

    @property
    def info(self) -> VideoInfo:
        """What the file says about itself, checked against the limits."""
        if self._info is None:
            self._info = self._read_info()
        return self._info

    @property
    def num_frames(self) -> int:
        """Number of frames: the container's count, or counted (not decoded) where it holds none."""
        return self.info.num_frames or len(self._times())

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return self.info.fps

    @property
    def height_px(self) -> int:
        """Height of the frames that are returned."""
        return self._size_px[0] if self._size_px else self.info.height_px

    @property
    def width_px(self) -> int:
        """Width of the frames that are returned."""
        return self._size_px[1] if self._size_px else self.info.width_px

    @property
    def duration_seconds(self) -> float:
        """Length as the container says, or number of frames over the rate."""
        duration = self.info.duration_seconds
        return self.num_frames / self.fps if duration is None else duration

    def frames(self, start_seconds: float = 0.0, end_seconds: float | None = None) -> VideoFrames:
        """Decode the frames of [start, end).

        Raises:
            MediaError: no frame there, or fewer than announced (see `on_short`), or over the limits.
        """
        buffer = self._buffer(self._expected(start_seconds, end_seconds))
        # Closed at once on an error: a decoder that lives on in a traceback would be closed in a forked child.
        with closing(self._checked(start_seconds, end_seconds)) as decoded:
            for pts, picture in decoded:
                buffer.append(pts, picture)
        return buffer.frames()

    def iter_frames(
        self, start_seconds: float = 0.0, end_seconds: float | None = None, *, num_frames: int = 64
    ) -> Iterator[VideoFrames]:
        """Decode [start, end) in pieces of at most `num_frames`, holding one piece at a time."""
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}")
        buffer = self._buffer(num_frames)
        with closing(self._checked(start_seconds, end_seconds)) as decoded:
            for pts, picture in decoded:
                buffer.append(pts, picture)
                if len(buffer) == num_frames:
                    yield buffer.frames()
                    buffer = self._buffer(num_frames)
        if len(buffer):
            yield buffer.frames()

    def frames_at(self, indices: Sequence[int] | NDArray[np.int64]) -> VideoFrames:
        """Decode frames by number, in the order asked for; a number may come several times."""
        wanted = np.asarray(indices, dtype=np.int64)
        times = self._checked_times()
        if wanted.ndim != 1 or (len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(times)):
            raise ValueError(f"indices must be a list within [0, {len(times)}), got {wanted.tolist()} for {self.path}")
        shape = (len(wanted), self.height_px, self.width_px, 3)
        self.limits.check_bytes(self.path, int(np.prod(shape)))
        pixels = np.empty(shape, dtype=np.uint8)
        unique = np.unique(wanted)
        done = 0
        try:
            for index, picture in self._decode_indices(unique):
                pixels[wanted == index] = picture
                done += 1
        except Short as error:
            # A frame that was asked for by number has no substitute, so the policy can't soften this one.
            raise self._short_error(done, len(unique), error.__cause__) from error
        return VideoFrames(pixels.transpose(0, 3, 1, 2), times[wanted])

    def frames_at_seconds(self, times_seconds: Sequence[float] | NDArray[np.float64]) -> VideoFrames:
        """Decode what is on screen at each time: the last frame whose own time is at or before it.

        Raises:
            ValueError: a time before 0 or past the end.
        """
        wanted = np.asarray(times_seconds, dtype=np.float64)
        times = self._checked_times()
        end = max(self.info.duration_seconds or 0.0, times[-1] + 1 / self.fps)
        if wanted.ndim != 1 or (len(wanted) and not 0 <= wanted.min() <= wanted.max() <= end):
            raise ValueError(f"times must be a list within [0, {end:.3f}] s, got {wanted.tolist()} for {self.path}")
        return self.frames_at(np.searchsorted(times, wanted + TIME_TOLERANCE_SECONDS, side="right") - 1)

    def _buffer(self, expected: int) -> FrameBuffer:
        def check(num_bytes: int) -> None:
            self.limits.check_bytes(self.path, num_bytes)

        return FrameBuffer(expected, height_px=self.height_px, width_px=self.width_px, check_bytes=check)

    @abstractmethod
    def _open(self) -> Any:
        """Open the file and return what `_handle` holds."""

    @abstractmethod
    def _close(self, handle: Any) -> None:
        """Close what `_open` returned."""

    @abstractmethod
    def _read_info(self) -> VideoInfo:
        """Read the header and check it against the limits."""

    @abstractmethod
    def _times(self) -> NDArray[np.float64]:
        """Return the times of all frames, sorted, without decoding them."""

    @abstractmethod
    def _decode(self, start_seconds: float, end_seconds: float | None) -> Iterator[tuple[float, Pixels]]:
        """Yield (time, (H, W, 3) picture) of [start, end); raise `Short` where decoding breaks off."""

    @abstractmethod
    def _decode_indices(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, Pixels]]:
        """Yield (index, (H, W, 3) picture) of sorted, distinct, valid indices; raise `Short` on failure."""

    def _opened(self) -> Any:
        if self._handle is not None and self._owner != os.getpid():
            _abandoned.append(self._handle)
            self._handle = None
        if self._handle is None:
            self._handle = self._open()
            self._owner = os.getpid()
        return self._handle

    def _expected(self, start_seconds: float, end_seconds: float | None) -> int:
        """Frames that [start, end) should hold, 0 if nobody knows."""
        if not 0 <= start_seconds < (float("inf") if end_seconds is None else end_seconds):
            raise ValueError(f"need 0 <= start < end, got [{start_seconds}, {end_seconds}) for {self.path}")
        total = self.info.announced_frames
        if total is None:
            return 0
        seconds = total / self.fps
        share = (min(seconds, seconds if end_seconds is None else end_seconds) - start_seconds) / seconds
        return max(0, round(total * share))

    def _checked(self, start_seconds: float, end_seconds: float | None) -> Generator[tuple[float, Pixels], None, None]:
        """Decode [start, end), then hold what came out against what was announced."""
        self._expected(start_seconds, end_seconds)
        num, last, cause = 0, -1.0, None
        try:
            for pts, picture in self._decode(start_seconds, end_seconds):
                num, last = num + 1, pts
                self.limits.check_frames(self.path, num)
                yield pts, picture
        except Short as error:
            cause = error.__cause__ or error
        self._judge(start_seconds, end_seconds, num, last, cause)

    def _judge(
        self, start_seconds: float, end_seconds: float | None, num: int, last: float, cause: BaseException | None
    ) -> None:
        if cause is None and self._complete(start_seconds, end_seconds, num, last):
            return
        expected = self._expected(start_seconds, end_seconds)
        if num == 0 and cause is None and (expected == 0 or self._span_complete(start_seconds, end_seconds, num)):
            span = f"[{start_seconds}, {'end' if end_seconds is None else end_seconds}) s"
            text = f"no frame lies in {span}; the video is {self.duration_seconds:.2f} s long, choose a span inside it"
            raise MediaError(self.path, text, frames_obtained=0, frames_announced=expected, kind="empty")
        error = self._short_error(num, expected, cause)
        if num == 0 or self._on_short == "error":
            raise error from cause
        if self._on_short == "warn":
            log.warning("%s", error)

    def _complete(self, start_seconds: float, end_seconds: float | None, num: int, last: float) -> bool:
        """Whether decoding that met no error delivered what was announced."""
        info, total = self.info, self.info.announced_frames
        if num == 0:
            return False
        frame = 1 / self.fps
        if total is None:
            return True
        end = total * frame if end_seconds is None else end_seconds
        if info.num_frames and start_seconds == 0 and end >= total * frame:
            by_time = total if info.duration_seconds is None else round(info.duration_seconds * info.fps)
            # The two claims differ by right where an edit list trims a clip; then one frame either way is rounding.
            return num >= total - (1 if by_time != info.num_frames else 0)
        length = total * frame
        slack = 0.0 if info.num_frames else max(UNCOUNTED_TOLERANCE_SECONDS, UNCOUNTED_TOLERANCE * length)
        # With a variable rate the last frame before `end` may be old; ask the container's own times if it is.
        late = last + 2 * frame + slack >= min(end, length)
        return late or self._span_complete(start_seconds, end_seconds, num)

    def _span_complete(self, start_seconds: float, end_seconds: float | None, num: int) -> bool:
        times = self._times()
        if self.info.num_frames and len(times) < (self.info.announced_frames or 0):
            return False
        return num >= int(span_mask(times, start_seconds, end_seconds).sum()) and bool(self.info.num_frames)

    def _checked_times(self) -> NDArray[np.float64]:
        """Times of all frames, after holding their number against what the container announced."""
        times = self._times()
        last = float(times[-1]) if len(times) else -1.0
        self._judge(0.0, None, len(times), last, None)
        return times

    def _short_error(self, num: int, expected: int, cause: BaseException | None) -> MediaError:
        detail = f" ({type(cause).__name__}: {str(cause).splitlines()[0][:120]})" if cause and str(cause) else ""
        announced = str(expected) if expected else "an unknown number of"
        return MediaError(
            self.path,
            f"{num} of {announced} frames can be decoded{detail}; the file is damaged or cut off: "
            "fetch it again or leave it out",
            frames_obtained=num,
            frames_announced=expected or None,
            kind="truncated" if num or (expected and cause is None) else "unreadable",
        )
