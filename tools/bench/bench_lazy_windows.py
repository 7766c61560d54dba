"""Features for retrieval: the windows that a model looks at chosen before the video network runs, or after it.

    python tools/bench/bench_lazy_windows.py [--quick] [--encoder NAME] [--weights FILE] [--px N] [--out FILE]

Counts first: clips as long as How2Sign's, drawn from a log-normal with one spread below and one above the median, which
gives the published median, 90 % quantile and share of clips with more than 64 windows of its test set (the published
mean, 175, is not used: it comes out within 2 %). Windows have 16 frames at stride 1, and CiCo keeps at most 64. Then
both ways through a real network on clips of such lengths, evenly spread quantiles: all windows encoded and the kept
ones selected, as the released code does, and ours. Nothing is written unless both give the same bits.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from _result import write_result
from numpy.typing import NDArray

from slr.features.encoders import EncoderSpec, FrameEncoder
from slr.features.loading import load_encoder
from slr.features.window_backbones import FrameWindows
from slr.features.windows import SlidingWindows, select

NUM_CLIPS = 2348
MEDIAN_FRAMES, P90_FRAMES, SHARE_ABOVE_64 = 133, 364, 0.715
PUBLISHED = {"how2sign_test_windows": 376_538, "how2sign_test_kept": 128_981}
ALL, KEPT = SlidingWindows(most=None), SlidingWindows(most=64)


def lengths(num: int) -> NDArray[np.int64]:
    """(num,) int64, frames of clips: evenly spread quantiles."""
    normal = statistics.NormalDist()
    above = math.log(P90_FRAMES / MEDIAN_FRAMES) / normal.inv_cdf(0.9)
    below = math.log(MEDIAN_FRAMES / 79.5) / normal.inv_cdf(SHARE_ABOVE_64)  # 64 windows are 79 frames
    quantiles = np.array([normal.inv_cdf((place + 0.5) / num) for place in range(num)])
    frames = MEDIAN_FRAMES * np.exp(np.where(quantiles < 0, below, above) * quantiles)
    return np.maximum(1, np.round(frames)).astype(np.int64)


def counts() -> dict[str, Any]:
    """How many windows there are and how many are kept."""
    sizes = lengths(NUM_CLIPS)
    every, kept = int(ALL.num_windows(sizes).sum()), int(KEPT.num_chosen(sizes).sum())
    return {
        "num_clips": NUM_CLIPS,
        "frames_median": float(np.median(sizes)),
        "frames_mean": float(sizes.mean()),
        "frames_p90": float(np.quantile(sizes, 0.9)),
        "num_windows": every,
        "num_kept": kept,
        "share_of_clips_with_more_than_64": float((ALL.num_windows(sizes) > 64).mean()),
    }


def encoder_of(name: str, weights: str, px: int) -> FrameWindows:
    """The network, for smaller pictures than its own."""
    loaded = load_encoder(name, weights=weights, stride=1)
    spec = {**dataclasses.asdict(loaded.spec), "height_px": px, "width_px": px}
    encoder = FrameEncoder(EncoderSpec(**spec))
    encoder.backbone.load_state_dict(loaded.backbone.state_dict())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return FrameWindows(encoder, window_frames=loaded.spec.window_frames if loaded.spec.is_video else 16).to(device)


def full(encoder: FrameWindows, clip: torch.Tensor) -> NDArray[np.float32]:
    """All windows, then the selection."""
    found: NDArray[np.float32] = select(encoder.encode_clip(clip, ALL).cpu().numpy(), KEPT)
    return found


def lazy(encoder: FrameWindows, clip: torch.Tensor) -> NDArray[np.float32]:
    """The selection, then its windows."""
    found: NDArray[np.float32] = encoder.encode_clip(clip, KEPT).cpu().numpy()
    return found


def main() -> None:
    """Count, compare, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a third of the clips")
    parser.add_argument("--encoder", default="torchvision:s3d")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--px", type=int, default=48, help="height and width of the pictures")
    parser.add_argument("--num-threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.num_threads)
    figures: dict[str, Any] = {**PUBLISHED, "counts": counts()}
    counted = figures["counts"]["num_windows"] / figures["counts"]["num_kept"]
    print(f"windows: {figures['counts']}, {counted:.2f} times as many as are kept")
    encoder = encoder_of(arguments.encoder, arguments.weights, arguments.px)
    generator = torch.Generator().manual_seed(0)
    clips = [
        torch.randint(0, 256, (size, 3, arguments.px, arguments.px), generator=generator, dtype=torch.uint8)
        for size in lengths(4 if arguments.quick else 12).tolist()
    ]
    on_cpu = encoder.device.type == "cpu"
    seconds = {"full": 0.0, "lazy": 0.0}
    largest = 0.0
    lazy(encoder, clips[0])  # the first call loads kernels
    for clip in clips:
        found = {}
        for name, way in (("full", full), ("lazy", lazy)):
            started = time.perf_counter()
            found[name] = way(encoder, clip)
            seconds[name] += time.perf_counter() - started
        difference = np.abs(found["full"] - found["lazy"]).max() / np.abs(found["full"]).max()
        largest = max(largest, float(difference))
    if largest > (0 if on_cpu else 1e-2):
        sys.exit(f"the two ways differ by {largest:.1e}; nothing is written")
    sizes = np.array([len(clip) for clip in clips])
    figures["timed"] = {
        "encoder": arguments.encoder,
        "px": arguments.px,
        "device": encoder.device.type,
        "num_threads": arguments.num_threads,
        "frames": sizes.tolist(),
        "num_windows": int(ALL.num_windows(sizes).sum()),
        "num_kept": int(KEPT.num_chosen(sizes).sum()),
        "largest_relative_difference": largest,
        **{f"{name}_seconds": value for name, value in seconds.items()},
    }
    ratio = {
        "windows_full_over_lazy": counted,
        "windows_full_over_lazy_published": PUBLISHED["how2sign_test_windows"] / PUBLISHED["how2sign_test_kept"],
        "timed_windows_lazy_over_full": figures["timed"]["num_kept"] / figures["timed"]["num_windows"],
        "seconds_lazy_over_full": seconds["lazy"] / seconds["full"],
    }
    print(f"timed: {figures['timed']}")
    print(f"ratios: {ratio}")
    print(write_result("lazy_windows", figures, ratio, arguments.out))


if __name__ == "__main__":
    main()
