"""Loading clips: our back ends against the plain loops people write, on the clip sizes sign corpora have.

    python tools/bench/bench_loader.py [--quick] [--out FILE] [--clips FOLDER]

Every way reads the same files at 112 x 112. The clips are made here, with frames that carry their number, so what each
way returns is compared before it is timed; `--clips` adds a folder of real ones, whose frame counts are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _result import write_result

from signwave.media.video import open_video, write_video
from signwave.testing.corruption import numbered_frame, read_number

SIZE_PX = (112, 112)
CLIPS = {"320x180": (180, 320, 120), "210x260": (260, 210, 120), "1280x720": (720, 1280, 60)}
NUM_RANDOM = 16
Way = Callable[[Path, "list[int] | None"], NDArray[np.uint8]]


def ours(backend: str) -> Way:
    """Read through `open_video`."""

    def read(path: Path, indices: list[int] | None) -> NDArray[np.uint8]:
        with open_video(path, backend=backend, size_px=SIZE_PX) as video:  # type: ignore[arg-type]
            return (video.frames() if indices is None else video.frames_at(indices)).pixels

    return read


def raw_pyav(path: Path, indices: list[int] | None) -> NDArray[np.uint8]:
    """Decode everything in a loop and pick: what most repositories do."""
    import av

    wanted = None if indices is None else set(indices)
    found: dict[int, Any] = {}
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if wanted is None or number in wanted:
                found[number] = frame.to_ndarray(width=SIZE_PX[1], height=SIZE_PX[0], format="rgb24")
    order = sorted(found) if indices is None else indices
    return np.stack([found[number] for number in order]).transpose(0, 3, 1, 2)


def raw_decord(path: Path, indices: list[int] | None) -> NDArray[np.uint8]:
    """Decord's reader as its documentation shows it."""
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), height=SIZE_PX[0], width=SIZE_PX[1], num_threads=1)
    batch: NDArray[np.uint8] = reader.get_batch(range(len(reader)) if indices is None else indices).asnumpy()
    return batch.transpose(0, 3, 1, 2)


def raw_pictures(path: Path, indices: list[int] | None) -> NDArray[np.uint8]:
    """Open, convert and resize the pictures of a folder one by one."""
    names = sorted(os.listdir(path))
    chosen = names if indices is None else [names[index] for index in indices]
    size = (SIZE_PX[1], SIZE_PX[0])
    opened = (Image.open(path / name).convert("RGB").resize(size, Image.Resampling.BILINEAR) for name in chosen)
    return np.stack([np.asarray(image) for image in opened]).transpose(0, 3, 1, 2)


VIDEO_WAYS: dict[str, Way] = {
    "ours_pyav": ours("pyav"),
    "raw_pyav": raw_pyav,
    "ours_decord": ours("decord"),
    "raw_decord": raw_decord,
}
FOLDER_WAYS: dict[str, Way] = {"ours_folder": ours("pyav"), "raw_folder": raw_pictures}


def make_clip(folder: Path, name: str) -> tuple[Path, Path, int]:
    """Write one clip as mp4 and as a folder of PNG frames; noise makes it as hard to decode as a camera's."""
    height, width, num_frames = CLIPS[name]
    rng = np.random.default_rng(0)
    noise = rng.integers(-24, 25, (height + 64, width + 64, 3))
    pictures = folder / name
    pictures.mkdir()
    frames = []
    for number in range(num_frames):
        down, right = number % 64, number * 3 % 64
        texture = noise[down : down + height, right : right + width]
        picture = numbered_frame(number, height_px=height, width_px=width) * 0.7 + 38 + texture
        frames.append(picture.clip(0, 255).astype(np.uint8))
        Image.fromarray(frames[-1]).save(pictures / f"{number:06d}.png", compress_level=1)
    clip = write_video(folder / f"{name}.mp4", (frame.transpose(2, 0, 1) for frame in frames), fps=25)
    return clip, pictures, num_frames


def check(way: Way, path: Path, num_frames: int, indices: list[int]) -> None:
    """Compare the frames' numbers with the truth."""
    for wanted in (None, indices):
        found = [read_number(frame) for frame in way(path, wanted)]
        truth = list(range(num_frames)) if wanted is None else wanted
        if found != truth:
            raise SystemExit(f"{path.name}: wrong frames, {found[:8]} where {truth[:8]} were asked for")


def milliseconds(way: Way, path: Path, indices: list[int] | None, repeats: int) -> dict[str, float]:
    """Time one read, open to close."""
    way(path, indices)
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        way(path, indices)
        spent.append(1000 * (time.perf_counter() - start))
    return {"median_ms": round(statistics.median(spent), 2), "min_ms": round(min(spent), 2), "repeats": repeats}


def resident_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope_mib_per_100(way: Way, path: Path, opens: int) -> float:
    """Growth of resident memory per 100 reads, after a fifth of them as warm-up."""
    for _ in range(opens // 5):
        way(path, None)
    levels = []
    for _ in range(opens):
        way(path, None)
        levels.append(resident_mib())
    return round(100 * float(np.polyfit(np.arange(opens), levels, 1)[0]), 3)


def measure(folder: Path, name: str, repeats: int, opens: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Check and time every way on one clip size."""
    clip, pictures, num_frames = make_clip(folder, name)
    indices = np.random.default_rng(1).permutation(num_frames)[:NUM_RANDOM].tolist()
    figures: dict[str, Any] = {"file_kib": round(clip.stat().st_size / 1024, 1), "num_frames": num_frames}
    ratio: dict[str, float] = {}
    tasks: dict[str, list[int] | None] = {"all_frames": None, f"random_{NUM_RANDOM}": indices}
    for ways, path in ((VIDEO_WAYS, clip), (FOLDER_WAYS, pictures)):
        for way_name, way in ways.items():
            check(way, path, num_frames, indices)
            figures[way_name] = {task: milliseconds(way, path, wanted, repeats) for task, wanted in tasks.items()}
            if opens and name == "320x180":
                figures[way_name]["rss_slope_mib_per_100"] = slope_mib_per_100(way, path, opens)
    for task in tasks:
        for kind in ("pyav", "decord", "folder"):
            pair = [figures[f"{who}_{kind}"][task]["min_ms"] for who in ("ours", "raw")]
            ratio[f"{name} {task} ours/raw {kind}"] = round(pair[0] / pair[1], 3)
        pair = [figures[f"ours_{kind}"][task]["min_ms"] for kind in ("decord", "pyav")]
        ratio[f"{name} {task} ours decord/pyav"] = round(pair[0] / pair[1], 3)
    return figures, ratio


def count_of(way: Way, clip: Path) -> int | str:
    """Frames that a way reads, or what it died of: a peer that can't read a clip is a finding, not an end."""
    try:
        return len(way(clip, None))
    except Exception as error:  # noqa: BLE001 (each peer has errors of its own)
        return f"{type(error).__name__}: {str(error)[-200:]}"


def measure_real(folder: Path, repeats: int) -> dict[str, Any]:
    """Time every way on the clips of a folder that all of them read, after comparing their frame counts."""
    counts = {
        clip: {name: count_of(way, clip) for name, way in VIDEO_WAYS.items()} for clip in sorted(folder.glob("*.mp4"))
    }
    failed = {clip.name: found for clip, found in counts.items() if any(isinstance(v, str) for v in found.values())}
    clips = [clip for clip in counts if clip.name not in failed]
    differ = [clip.name for clip in clips if len(set(counts[clip].values())) != 1]
    if differ:
        raise SystemExit(f"the ways disagree on the number of frames of {', '.join(differ)}")
    num_frames = sum(int(counts[clip]["ours_pyav"]) for clip in clips)
    figures: dict[str, Any] = {"num_clips": len(clips), "num_frames": num_frames, "not_read_by_all": failed}
    for name, way in VIDEO_WAYS.items():
        spent = sum(milliseconds(way, clip, None, repeats)["min_ms"] for clip in clips)
        figures[name] = {"frames_per_second": round(1000 * num_frames / spent, 1)}
    return figures


def main() -> None:
    """Run, print a table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small clip, few repeats, no memory slope")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    parser.add_argument("--clips", type=Path, help="a folder of real mp4 clips to time as well")
    options = parser.parse_args()
    repeats, opens = (2, 0) if options.quick else (5, 200)
    figures: dict[str, Any] = {"size_px": list(SIZE_PX), "num_threads": 1}
    ratio: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in ["320x180"] if options.quick else CLIPS:
            figures[name], ratios = measure(Path(temporary), name, repeats, opens)
            ratio.update(ratios)
    if options.clips:
        figures["real"] = measure_real(options.clips, repeats)
    for name, value in ratio.items():
        print(f"{name:45s} {value:6.2f}")
    print(f"written to {write_result('loader', figures, ratio, options.out)}")


if __name__ == "__main__":
    main()
