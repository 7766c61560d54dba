"""Memory stays flat over many open-read-close cycles, on every back end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from signwave.testing.corruption import encode_numbered, make_set

MAX_SLOPE_MIB_PER_100 = 1.0
PROGRAM = """
import ctypes, gc, json, os, sys
from pathlib import Path
from signwave.errors import MediaError
from signwave.media.audio import read_audio
from signwave.media.video import open_video

def resident_mib():
    gc.collect()
    try:
        # Holes that large frames leave on the heap settle after thousands of files; they are no leak.
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        pass
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def read(path, backend):
    try:
        if backend == "audio":
            read_audio(path, start_seconds=0.1, end_seconds=0.5)
            return
        with open_video(path, backend=backend, size_px=(64, 64)) as video:
            video.frames(0.1, 0.9)
            video.frames_at([0, 7])
    except MediaError:
        pass

paths, backend, cycles = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
levels = []
for cycle in range(cycles + cycles // 4):
    for path in paths:
        read(path, backend)
    if cycle >= cycles // 4:
        levels.append(resident_mib())
print(json.dumps(levels))
"""


def slope_mib_per_100(paths: list[Path], backend: str, cycles: int) -> float:
    """Growth of the resident memory in MiB per 100 opened files, least squares after a warm-up."""
    arguments = [json.dumps([str(path) for path in paths]), backend, str(cycles // len(paths))]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    levels = json.loads(done.stdout)
    middle, mean = (len(levels) - 1) / 2, sum(levels) / len(levels)
    above = sum((i - middle) * (level - mean) for i, level in enumerate(levels))
    return above / sum((i - middle) ** 2 for i in range(len(levels))) * 100 / len(paths)


def check(folder: Path, backend: str, cycles: int) -> None:
    cases = make_set(folder)
    names = ("phoenix.mp4", "vfr.mp4", "rotated.mp4", "vp9.webm", "truncated_faststart.mp4", "moov_flips.mp4")
    paths = [cases[name].path for name in names]
    if backend == "audio":
        paths = [cases["audio_only.wav"].path, cases["audio_only.mp4"].path, cases["vfr.mp4"].path]
    # Short runs still see caches fill, so they can't tell a small leak: the long one does.
    allowed = MAX_SLOPE_MIB_PER_100 * (4 if cycles < 1000 else 1)
    assert slope_mib_per_100(paths, backend, cycles) < allowed


@pytest.mark.parametrize("backend", ["pyav", "decord", "audio"])
def test_memory_is_flat_over_200_files(backend: str, tmp_path: Path) -> None:
    check(tmp_path, backend, 200)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyav", "decord", "audio"])
def test_memory_is_flat_over_1000_files(backend: str, tmp_path: Path) -> None:
    check(tmp_path, backend, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_memory_is_flat_over_300_larger_files(backend: str, tmp_path: Path) -> None:
    path = encode_numbered(tmp_path / "hd.mp4", 30, height_px=720, width_px=1280)
    assert slope_mib_per_100([path], backend, 300) < MAX_SLOPE_MIB_PER_100
