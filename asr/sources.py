"""Inputs of transcription: files, arrays and streams, all read as chunks of 16 kHz mono audio."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
_CHUNK_SECONDS = 10.0
_MAX_SECONDS = 100 * 3600.0
_MAX_BYTES = 2**40

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """One input: a name for the record and a way to read it.

    `chunks` is called once and gives (S,) float32 arrays of 16 kHz mono audio.
    """

    name: str
    chunks: Callable[[], Iterable[Audio]]
    sha256: str = ""


def file_source(path: str | Path, *, name: str | None = None, sha256: str = "") -> Source:
    """Return a source that streams a file."""
    from signwave.media.audio import iter_audio
    from signwave.media.limits import Limits

    # Memory doesn't grow with the length here, so the caps are those of an absurd file, not of a long one.
    limits = Limits(max_seconds=_MAX_SECONDS, max_bytes=_MAX_BYTES)
    chunks = partial(iter_audio, path, chunk_seconds=_CHUNK_SECONDS, limits=limits)
    return Source(str(path) if name is None else name, chunks, sha256)


def source_of(audio: str | Path | Audio | Iterable[Audio], *, rate_hz: float = SAMPLE_RATE_HZ) -> Source:
    """Return the source of a file, of (S,) mono samples (float32, or int16), or of an iterable of such chunks."""
    if isinstance(audio, str | Path):
        return file_source(audio)
    chunks = [audio] if isinstance(audio, np.ndarray) else audio
    return Source("", lambda: _at_16_khz(chunks, rate_hz))


def _at_16_khz(chunks: Iterable[Audio], rate_hz: float) -> Iterator[Audio]:
    """Mono float32 chunks at the model's rate, resampled as one stream."""
    import soxr

    stream = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
    for chunk in chunks:
        array = np.asarray(chunk)
        if array.ndim != 1:
            raise ValueError(f"audio must be (S,), one channel, got {array.shape}; take the mean of the channels first")
        floats = array / np.float32(32768) if array.dtype == np.int16 else array
        floats = floats.astype(np.float32, copy=False)
        yield floats if stream is None else stream.resample_chunk(floats)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
