"""Make a small set of good and damaged videos whose frames carry their number as pixels.

Every good file can be checked frame by frame on any back end (`read_number`), every damaged file says what a reader
may do with it: refuse it, or deliver exactly the promised number of frames.
"""

from __future__ import annotations

import os
import random
import struct
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

NUM_CODE_COLUMNS = 4
NUM_CODE_ROWS = 3
NUM_CODE_BITS = NUM_CODE_COLUMNS * NUM_CODE_ROWS
CFR_FPS = 25
VFR_TICKS = (1, 3, 2, 7, 1, 1, 5, 2)
"""Lengths of successive frames of the variable-rate file in ticks of 1/100 s."""


@dataclass(frozen=True)
class Case:
    """One file of the set.

    Attributes:
        path: the file.
        num_frames: frames the undamaged file has; 0 for a file that never was a video.
        outcome: "exact" = every frame with its number; "error" = a MediaError; "count" = exactly `num_frames`
            frames, pixels may differ, or a MediaError.
        height_px: upright height; 0 for a file that never was a video.
        width_px: upright width.
        pts_seconds: times of the frames where they are not `number / CFR_FPS`.
    """

    path: Path
    num_frames: int
    outcome: str
    height_px: int = 0
    width_px: int = 0
    pts_seconds: tuple[float, ...] = ()


def numbered_frame(number: int, *, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Draw a number as a grid of black and white blocks, lowest bit first.

    Returns:
        frame: (H, W, 3) uint8 RGB, blocks of 16 (black) and 235 (white), which survive lossy coding and resizing.
    """
    if not 0 <= number < 2**NUM_CODE_BITS:
        raise ValueError(f"number must be in [0, {2**NUM_CODE_BITS}), got {number}")
    bits = (number >> np.arange(NUM_CODE_BITS)) & 1
    rows = np.arange(height_px) * NUM_CODE_ROWS // height_px
    columns = np.arange(width_px) * NUM_CODE_COLUMNS // width_px
    plane = bits.reshape(NUM_CODE_ROWS, NUM_CODE_COLUMNS)[rows[:, None], columns[None, :]]
    return np.repeat(np.where(plane, 235, 16).astype(np.uint8)[..., None], 3, axis=2)


def read_number(frame: NDArray[np.uint8]) -> int:
    """Read the number back from a decoded frame.

    Args:
        frame: (3, H, W) uint8 RGB, upright, at any size from about 24 pixels a side.
    """
    grey = frame.astype(np.float32).mean(axis=0)
    height, width = grey.shape
    number = 0
    for bit in range(NUM_CODE_BITS):
        row, column = divmod(bit, NUM_CODE_COLUMNS)
        centre_y = int((row + 0.5) * height / NUM_CODE_ROWS)
        centre_x = int((column + 0.5) * width / NUM_CODE_COLUMNS)
        number |= int(grey[centre_y - 1 : centre_y + 2, centre_x - 1 : centre_x + 2].mean() > 126) << bit
    return number


def encode_numbered(
    path: Path,
    num_frames: int,
    *,
    codec: str = "libx264",
    height_px: int = 96,
    width_px: int = 128,
    pixel_format: str = "yuv420p",
    ticks: tuple[int, ...] = (),
    quarter_turns: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode frames 0, 1, … as one video file.

    Args:
        path: file to write; its suffix picks the container.
        num_frames: number of frames.
        codec: FFmpeg encoder name.
        height_px: upright height.
        width_px: upright width.
        pixel_format: of the encoder.
        ticks: lengths of successive frames in 1/100 s, repeated; constant 25 fps when empty.
        quarter_turns: turn the stored picture counter-clockwise this often.
        options: for the encoder.
        container_options: for the muxer.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=100 if ticks else CFR_FPS, options=options or {})
        time_base = stream.codec_context.time_base = Fraction(1, 100 if ticks else CFR_FPS)
        turned = quarter_turns % 2 == 1
        stream.width, stream.height = (height_px, width_px) if turned else (width_px, height_px)
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        now = 0
        for number in range(num_frames):
            pixels = numbered_frame(number, height_px=height_px, width_px=width_px)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(pixels, quarter_turns)), format="rgb24")
            frame.pts, frame.time_base = now, time_base
            now += ticks[number % len(ticks)] if ticks else 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_set(folder: str | Path) -> dict[str, Case]:
    """Write the whole set (about 200 kB, about a second) and say what each file is.

    Args:
        folder: where to put it; made if needed.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    return {case.path.name: case for case in [*_good(root), *_damaged(root), *_never_video(root)]}


def turn_matrix(source: Path, target: Path) -> Path:
    """Copy an mp4 and tell its players to turn the picture by 90 degrees clockwise."""
    data = bytearray(source.read_bytes())
    start = data.index(b"tkhd") + 44
    one = 1 << 16
    data[start : start + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def write_wave(path: Path, samples: NDArray[np.int16], *, rate_hz: int = 16000) -> Path:
    """Write (S,) or (S, channels) int16 samples as a wav file, by the standard library alone."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def _good(root: Path) -> list[Case]:
    times = np.cumsum([0, *(VFR_TICKS[i % len(VFR_TICKS)] for i in range(119))]) / 100
    turned = encode_numbered(root / "turned_source.mp4", 50, quarter_turns=1)
    fast = {"deadline": "realtime", "cpu-used": "8"}
    quiet = {"x265-params": "log-level=none:pools=1", "preset": "ultrafast"}
    cases = [
        Case(encode_numbered(root / "good.mp4", 500, options={"g": "50"}), 500, "exact", 96, 128),
        Case(encode_numbered(root / "phoenix.mp4", 60, height_px=260, width_px=210), 60, "exact", 260, 210),
        Case(encode_numbered(root / "vfr.mp4", 120, ticks=VFR_TICKS), 120, "exact", 96, 128, tuple(times.tolist())),
        Case(turn_matrix(turned, root / "rotated.mp4"), 50, "exact", 96, 128),
        Case(encode_numbered(root / "vp9.webm", 60, codec="libvpx-vp9", options=fast), 60, "exact", 96, 128),
        Case(encode_numbered(root / "hevc.mp4", 60, codec="libx265", options=quiet), 60, "exact", 96, 128),
        Case(encode_numbered(root / "one_frame.mp4", 1), 1, "exact", 96, 128),
        Case(encode_numbered(root / "ten_bit.mp4", 50, pixel_format="yuv420p10le"), 50, "exact", 96, 128),
        Case(encode_numbered(root / "mpeg4.avi", 50, codec="mpeg4", options={"g": "12"}), 50, "exact", 96, 128),
    ]
    turned.unlink()
    if _has_encoder("libsvtav1"):
        os.environ.setdefault("SVT_LOG", "1")
        path = encode_numbered(root / "av1.mp4", 60, codec="libsvtav1", options={"preset": "8", "crf": "20"})
        cases.append(Case(path, 60, "exact", 96, 128))
    return cases


def _damaged(root: Path) -> list[Case]:
    options = {"g": "50", "crf": "18"}
    source = encode_numbered(root / "damaged_source.mp4", 500, options=options)
    fast = encode_numbered(
        root / "faststart_source.mp4", 500, options=options, container_options={"movflags": "+faststart"}
    )
    whole, front = source.read_bytes(), fast.read_bytes()
    source.unlink()
    fast.unlink()
    made = {
        "truncated_no_moov.mp4": (whole[: len(whole) * 6 // 10], "error"),
        "truncated_faststart.mp4": (front[: len(front) * 6 // 10], "error"),
        "light_flips.mp4": (_flip(front, num_flips=3, seed=3), "count"),
        "heavy_flips.mp4": (_flip(front, num_flips=400, seed=1), "error"),
        "moov_flips.mp4": (_announce_few_samples(front, 5), "error"),
    }
    cases = []
    for name, (data, outcome) in made.items():
        (root / name).write_bytes(data)
        cases.append(Case(root / name, 500, outcome, 96, 128))
    return cases


def _never_video(root: Path) -> list[Case]:
    (root / "zero_bytes.mp4").write_bytes(b"")
    (root / "random_bytes.mp4").write_bytes(random.Random(0).randbytes(20_000))
    tone = (8000 * np.sin(np.arange(16000) * 0.2)).astype(np.int16)
    write_wave(root / "audio_only.wav", tone)
    _encode_tone(root / "audio_only.mp4")
    names = ("zero_bytes.mp4", "random_bytes.mp4", "audio_only.wav", "audio_only.mp4")
    return [Case(root / name, 0, "error") for name in names]


def _encode_tone(path: Path) -> None:
    rate_hz = 16000
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=rate_hz, layout="mono")
        tone = (0.25 * np.sin(np.arange(rate_hz) * 0.2)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _flip(data: bytes, *, num_flips: int, seed: int) -> bytes:
    """Flip single bits inside the coded pictures, not in the tables."""
    flipped = bytearray(data)
    start = flipped.index(b"mdat") + 1000
    chooser = random.Random(seed)
    for _ in range(num_flips):
        flipped[chooser.randrange(start, len(flipped))] ^= 1 << chooser.randrange(8)
    return bytes(flipped)


def _announce_few_samples(data: bytes, num_samples: int) -> bytes:
    """Cut the table of sample sizes short; count and duration elsewhere in the header still say the truth."""
    changed = bytearray(data)
    start = changed.index(b"stsz") + 12
    changed[start : start + 4] = struct.pack(">I", num_samples)
    return bytes(changed)


def _has_encoder(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except (av.FFmpegError, ValueError):
        return False
    return True
