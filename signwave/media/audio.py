"""Audio of any common file as mono float32 at one rate; short spans of long files cost what the span costs.

soundfile reads wav, flac, ogg, opus, mp3 and sph; PyAV reads the rest and the sound of videos. Resampling is done by
soxr on a grid that does not depend on where a span starts, so neighbouring spans join without a seam.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.media.limits import DEFAULT_LIMITS, Limits
from signwave.media.paths import local_file
from signwave.media.sound import SoundReader, open_sound
from signwave.media.source import OnShort
from signwave.rundir import atomic_path

log = logging.getLogger(__name__)

Audio = NDArray[np.float32]
OnNan = Literal["error", "zero"]

_MARGIN_SECONDS = 0.1
"""Context on either side of a span for the resampling filter."""
_IMPLAUSIBLE_PEAK = 100.0
_SHORT_SECONDS = 0.1
_SHORT_SHARE = 0.01


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file, or the sound of a video, says about itself.

    Attributes:
        path: as it was given.
        rate_hz: stored samples per second.
        num_samples: stored samples per channel; an estimate from the duration for mp4, webm and some mp3.
        num_channels: stored channels.
        duration_seconds: num_samples over rate_hz.
    """

    path: str
    rate_hz: int
    num_samples: int
    num_channels: int
    duration_seconds: float


def probe_audio(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> AudioInfo:
    """Say what an audio file claims to be, from its header.

    Raises:
        MediaError: missing, refused, empty, unreadable, without an audio track, or over the limits.
    """
    with _open(path, limits) as reader:
        seconds = reader.num_samples / reader.rate_hz
        return AudioInfo(str(path), reader.rate_hz, reader.num_samples, reader.num_channels, seconds)


def read_audio(
    path: str | Path,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    rate_hz: int = 16000,
    limits: Limits = DEFAULT_LIMITS,
    on_short: OnShort = "error",
    on_nan: OnNan = "error",
) -> Audio:
    """Read [start, end) of a file as mono; channels are averaged.

    Args:
        path: a local audio or video file.
        start_seconds: first instant to read.
        end_seconds: instant to stop before; the end of the file if None or later than it.
        rate_hz: samples per second of the result.
        limits: caps, checked before and while decoding.
        on_short: what to do if clearly fewer samples can be decoded than the file announces.
        on_nan: "error", or "zero" to replace samples that are not a number.

    Returns:
        audio: (S,) float32 in [-1, 1], S = round(end * rate_hz) - round(start * rate_hz); S is 0 for a valid file
            that holds no sample.
    """
    pieces = list(_pieces(path, start_seconds, end_seconds, rate_hz, limits, on_short, on_nan))
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


def iter_audio(
    path: str | Path,
    *,
    chunk_seconds: float,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    rate_hz: int = 16000,
    limits: Limits = DEFAULT_LIMITS,
    on_short: OnShort = "error",
    on_nan: OnNan = "error",
) -> Iterator[Audio]:
    """Read a file of any length in chunks, holding one at a time; joined they equal `read_audio`.

    Yields:
        audio: (S,) float32 in [-1, 1], S = round(chunk_seconds * rate_hz), fewer in the last chunk.
    """
    size = round(chunk_seconds * rate_hz)
    if size < 1:
        raise ValueError(f"chunk_seconds must cover at least one sample, got {chunk_seconds}")
    held: list[Audio] = []
    num_held = 0
    for piece in _pieces(path, start_seconds, end_seconds, rate_hz, limits, on_short, on_nan):
        held.append(piece)
        num_held += len(piece)
        if num_held >= size:
            joined = np.concatenate(held)
            cut = len(joined) // size * size
            yield from np.split(joined[:cut], cut // size)
            held, num_held = [joined[cut:].copy()], len(joined) - cut
    if num_held:
        yield np.concatenate(held)


def write_wav(path: str | Path, audio: Audio, *, rate_hz: int = 16000) -> Path:
    """Write 16-bit wav; a half-written file never has the name.

    Args:
        path: file to write.
        audio: (S,) float32, mono, clipped to [-1, 1].
        rate_hz: samples per second.
    """
    if audio.ndim != 1:
        raise ValueError(f"audio must be (S,), got {audio.shape}")
    with atomic_path(path) as temporary:
        soundfile.write(str(temporary), np.clip(audio, -1, 1), rate_hz, format="WAV", subtype="PCM_16")
    return Path(path)


def _open(path: str | Path, limits: Limits) -> SoundReader:
    file = local_file(path)
    if file.stat().st_size == 0:
        raise MediaError(path, "is an empty file of 0 bytes; fetch it again or leave it out", kind="empty")
    reader = open_sound(str(path), file)
    try:
        limits.check_channels(path, reader.num_channels)
        limits.check_seconds(path, reader.num_samples / reader.rate_hz)
    except MediaError:
        reader.close()
        raise
    return reader


def _pieces(
    path: str | Path,
    start_seconds: float,
    end_seconds: float | None,
    rate_hz: int,
    limits: Limits,
    on_short: OnShort,
    on_nan: OnNan,
) -> Iterator[Audio]:
    """Yield the span at the wanted rate in pieces of about a second."""
    if not 0 <= start_seconds < (math.inf if end_seconds is None else end_seconds):
        raise ValueError(f"need 0 <= start < end, got [{start_seconds}, {end_seconds}) for {path}")
    if rate_hz < 1 or on_nan not in ("error", "zero"):
        raise ValueError(f"need rate_hz >= 1 and on_nan 'error' or 'zero', got {rate_hz}, {on_nan!r}")
    with _open(path, limits) as reader:
        length = reader.num_samples / reader.rate_hz
        if start_seconds >= length and start_seconds > 0:
            raise MediaError(path, f"is {length:.2f} s long; choose a span before its end", kind="empty")
        span = _Span(reader.rate_hz, rate_hz, start_seconds, end_seconds)
        for block in span.resampled(_clean(path, _counted(path, reader, span, limits, on_short), on_nan)):
            yield np.clip(block, -1, 1)


class _Span:
    """Where a span lies in stored samples and in samples of the result.

    Reading starts at a stored sample that falls exactly on a sample of the result, a margin before the span.
    """

    def __init__(self, stored_hz: int, rate_hz: int, start_seconds: float, end_seconds: float | None) -> None:
        self.stored_hz = stored_hz
        self.rate_hz = rate_hz
        unit = stored_hz // math.gcd(stored_hz, rate_hz)
        margin = 0.0 if stored_hz == rate_hz else _MARGIN_SECONDS
        self.first = max(0, int((start_seconds - margin) * stored_hz)) // unit * unit
        self.stop = None if end_seconds is None else math.ceil((end_seconds + margin) * stored_hz) + 1
        self.num_skipped = round(start_seconds * rate_hz) - self.first * rate_hz // stored_hz
        self.num_wanted = None if end_seconds is None else round(end_seconds * rate_hz) - round(start_seconds * rate_hz)

    def resampled(self, blocks: Iterator[Audio]) -> Iterator[Audio]:
        """Resample and cut the margins off."""
        num_before = 0
        last = math.inf if self.num_wanted is None else self.num_skipped + self.num_wanted
        for block in self._converted(blocks):
            low = max(0, self.num_skipped - num_before)
            high = min(len(block), last - num_before)
            num_before += len(block)
            if high > low:
                yield block[low : int(high)]

    def _converted(self, blocks: Iterator[Audio]) -> Iterator[Audio]:
        if self.stored_hz == self.rate_hz:
            yield from blocks
            return
        stream = soxr.ResampleStream(self.stored_hz, self.rate_hz, 1, dtype="float32", quality="HQ")
        previous: Audio | None = None
        for block in blocks:
            if previous is not None:
                yield stream.resample_chunk(previous)
            previous = block
        if previous is not None:
            yield stream.resample_chunk(previous, last=True)


def _counted(path: str | Path, reader: SoundReader, span: _Span, limits: Limits, on_short: OnShort) -> Iterator[Audio]:
    """Pass mono blocks on, then hold their number against what the header announced."""
    announced = reader.announced_samples
    stop = announced if span.stop is None else min(span.stop, announced)
    num, cause = 0, ""
    try:
        for block in reader.blocks(span.first, span.stop):
            num += len(block)
            limits.check_seconds(path, num / reader.rate_hz)
            limits.check_bytes(path, 4 * num)
            yield block
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
        cause = f" ({type(error).__name__}: {str(error).splitlines()[0][:120]})" if str(error) else ""
    missing = stop - span.first - num
    # A share of the span, not of the file: at the end of an hour that share would swallow a sentence.
    if not cause and missing <= max(_SHORT_SECONDS * reader.rate_hz, _SHORT_SHARE * (stop - span.first)):
        return
    short = MediaError(
        path,
        f"{num} of {stop - span.first} samples can be decoded{cause}; the file is damaged or cut off: "
        "fetch it again or leave it out",
        frames_obtained=num,
        frames_announced=stop - span.first,
        kind="truncated" if num else "unreadable",
    )
    if on_short == "error":
        raise short
    if on_short == "warn":
        log.warning("%s", short)


def _clean(path: str | Path, blocks: Iterator[Audio], on_nan: OnNan) -> Iterator[Audio]:
    """Stop at, or replace, samples that are no number; refuse float files that are not scaled to [-1, 1]."""
    for block in blocks:
        finite = np.isfinite(block)
        if not finite.all():
            if on_nan == "error":
                text = f"{int((~finite).sum())} of {len(block)} samples are not finite; repair it or pass on_nan='zero'"
                raise MediaError(path, text)
            block = np.where(finite, block, np.float32(0))  # noqa: PLW2901 - the cleaned block replaces the raw one
        peak = float(np.abs(block).max(initial=0))
        if peak > _IMPLAUSIBLE_PEAK:
            raise MediaError(path, f"holds float samples up to {peak:.0f}; scale it to [-1, 1]")
        yield block
