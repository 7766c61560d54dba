"""The two readers behind `signwave.media.audio`: soundfile, and PyAV for what soundfile doesn't know."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.media.pyav import DECODE_ERRORS, open_container

_STREAMED_WAV_BYTES = 0x7FFF0000
"""A wav written to a pipe announces a length from here on; it means "unknown"."""
_SEEK_BACK_SECONDS = 1.0


class SoundReader(ABC):
    """Mono blocks of one open file.

    Attributes:
        rate_hz: stored samples per second.
        num_channels: stored channels.
        num_samples: samples per channel that the file seems to hold.
        announced_samples: samples per channel that its header claims.
    """

    rate_hz: int
    num_channels: int
    num_samples: int
    announced_samples: int

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def blocks(self, first: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Yield stored samples [first, stop) of the channels' mean in blocks of at most about a second."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def open_sound(name: str, file: Path) -> SoundReader:
    """Open with the first reader that knows the format.

    Raises:
        MediaError: kind "unreadable" or "no_stream".
    """
    try:
        return _SoundFileReader(file)
    except (soundfile.SoundFileError, TypeError, ValueError):  # TypeError: a .raw file without a header
        return _PyavReader(name, file)


class _SoundFileReader(SoundReader):
    def __init__(self, file: Path) -> None:
        self._file = soundfile.SoundFile(str(file))
        self.rate_hz = self._file.samplerate
        self.num_channels = self._file.channels
        self.num_samples = self._file.frames
        self.announced_samples = max(self.num_samples, _announced_in_wav(file))

    def blocks(self, first: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        position = self._file.seek(first) if first else 0
        while stop is None or position < stop:
            size = self.rate_hz if stop is None else min(self.rate_hz, stop - position)
            block = self._file.read(size, dtype="float32", always_2d=True)
            if not len(block):
                return
            position += len(block)
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)

    def close(self) -> None:
        self._file.close()


class _PyavReader(SoundReader):
    def __init__(self, name: str, file: Path) -> None:
        self._container = open_container(name, str(file))
        if not self._container.streams.audio:
            self._container.close()
            raise MediaError(name, "has no audio track; name a file with sound", kind="no_stream")
        self._stream: AudioStream = self._container.streams.audio[0]
        context = self._stream.codec_context
        self.rate_hz, self.num_channels = context.sample_rate, context.channels
        if self.rate_hz < 1 or self.num_channels < 1:
            self._container.close()
            raise MediaError(name, "has an audio track without a rate or channels; fetch it again")
        base = self._stream.time_base
        if self._stream.duration and base:
            seconds = float(self._stream.duration * base)
        else:
            seconds = max(0.0, (self._container.duration or 0) / av.time_base)
        self.num_samples = self.announced_samples = round(seconds * self.rate_hz)

    def blocks(self, first: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        origin = self._stream.start_time or 0
        base = self._stream.time_base or Fraction(1, self.rate_hz)
        if first:
            # A codec needs some samples before it is exact again.
            back = max(0.0, first / self.rate_hz - _SEEK_BACK_SECONDS)
            self._container.seek(origin + int(back / base), stream=self._stream, backward=True)
        position: int | None = None if first else 0
        for block, pts in self._decoded():
            if position is None:
                position = 0 if pts is None else round(float((pts - origin) * base) * self.rate_hz)
            low = max(0, first - position)
            high = len(block) if stop is None else min(len(block), stop - position)
            position += len(block)
            if high > low:
                yield block[low:high]
            if stop is not None and position >= stop:
                return

    def _decoded(self) -> Iterator[tuple[NDArray[np.float32], int | None]]:
        layout = self._stream.codec_context.layout
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.rate_hz)
        try:
            for frame in self._container.decode(self._stream):
                pts = frame.pts
                for part in resampler.resample(frame):
                    yield part.to_ndarray().mean(axis=0, dtype=np.float32), pts
        except DECODE_ERRORS as error:
            raise RuntimeError(str(error)) from error

    def close(self) -> None:
        self._container.close()


def _announced_in_wav(file: Path) -> int:
    """Samples per channel that a wav header claims; 0 if it is no wav or says "unknown".

    libsndfile quietly corrects the claim to what the file holds, which hides a file that was cut off.
    """
    with file.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        block_bytes = 0
        while len(chunk := stream.read(8)) == 8:
            kind, size = struct.unpack("<4sI", chunk)
            if kind == b"data":
                return size // block_bytes if block_bytes and size < _STREAMED_WAV_BYTES else 0
            body = stream.read(min(size, 64))
            if kind == b"fmt " and len(body) >= 14:
                coding, block_align = struct.unpack("<H10xH", body[:14])
                block_bytes = block_align if coding in (1, 3, 0xFFFE) else 0
            stream.seek(size + size % 2 - len(body), 1)
    return 0
