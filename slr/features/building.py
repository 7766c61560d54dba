"""Filling a feature cache: clips are decoded ahead in threads, encoded one by one, and written shard by shard."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave import command
from signwave.errors import MediaError, UserError
from signwave.index.lock import exclusive
from signwave.manifest import Clip
from signwave.rundir import sweep_temporaries
from slr.features.cache import CacheHeader, FeatureCache, HalfArray
from slr.features.encoders import FrameEncoder
from slr.features.shards import Shards, check_ids

ReadFrames = Callable[[Clip], NDArray[np.uint8]]

SHARD_BYTES = 64 * 2**20
FLUSH_SECONDS = 120.0
"""A killed run loses at most this much work, or a shard's."""
_LEAST_VALUE = 1e-3  # half precision keeps two digits of it; some untrained networks give 1e-8
_LEAST_AREA, _ASPECT = 0.7, (0.75, 1.33)  # crops as TwoStream-SLR draws them


@dataclass
class Built:
    """What `build` did.

    Attributes:
        num_done: clips encoded now.
        num_skipped: clips that were there already.
        problems: clip → why it couldn't be encoded.
        seconds: time spent.
        num_frames: frames encoded now, variants counted.
    """

    num_done: int = 0
    num_skipped: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    num_frames: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def build(
    clips: Iterable[Clip],
    encoder: FrameEncoder,
    folder: str | Path,
    *,
    rate_hz: float = 25.0,
    num_variants: int = 1,
    flip: float = 0.0,
    device: str = "cpu",
    read_frames: ReadFrames | None = None,
    num_workers: int = 2,
    fail_fast: bool = False,
    quiet: bool = True,
    shard_bytes: int = SHARD_BYTES,
) -> Built:
    """Encode clips into a cache; what is there already isn't made again, and a clip that can't be used is counted.

    Several manifests (training, development, test) may go into one folder, one call after the other.

    Args:
        clips: rows of a manifest; ids must differ.
        encoder: what makes the features.
        folder: of the cache; made where it doesn't exist.
        rate_hz: frames a second that clips are brought to.
        num_variants: 1, or more: the others show random crops of the pictures, chosen by clip id and variant.
        flip: share of these crops that are mirrored. Many signs say something else with the other hand.
        device: cpu, cuda or cuda:N.
        read_frames: gives (T, 3, H, W) uint8 of a clip; by default `slr.reading.read` at the encoder's size.
        num_workers: clips decoded ahead, each in a thread.
        fail_fast: raise at the first clip that can't be used.
        quiet: no progress on stderr.
        shard_bytes: features held in memory before they are written.

    Raises:
        ArtefactError: the folder holds other features, or another process writes there.
        ManifestError: an id occurs twice.
        UserError: with `fail_fast`, that of the clip.
    """
    if num_variants < 1 or not 0 <= flip <= 1:
        raise ValueError(f"num_variants must be at least 1 and flip in [0, 1], got {num_variants} and {flip}")
    folder, wanted = Path(folder), check_ids(clips)
    folder.mkdir(parents=True, exist_ok=True)
    started, built = time.monotonic(), Built()
    header = CacheHeader(encoder.spec.to_dict(), encoder.digest(), rate_hz, num_variants, flip)
    with exclusive(folder):
        sweep_temporaries(folder)
        shards = Shards(folder, header, max_bytes=shard_bytes)
        cache = FeatureCache.open(folder, partial=True)
        todo = [clip for clip in wanted if not cache.has(clip)]
        built.num_skipped = len(wanted) - len(todo)
        problems = shards.begin()
        encoder = encoder.to(device)
        try:
            _fill(shards, _Encoding(encoder, num_variants, flip, device), todo, built, fail_fast=fail_fast, quiet=quiet,
                  num_workers=num_workers, read_frames=read_frames or _reader(encoder, rate_hz))  # fmt: skip
        finally:
            shards.flush()  # an interrupted run keeps what it has done
        kept = {name: reason for name, reason in problems.items() if name not in {clip.id for clip in wanted}}
        shards.finish(kept | built.problems)
    built.seconds = time.monotonic() - started
    return built


def _fill(
    shards: Shards,
    encoding: _Encoding,
    todo: Sequence[Clip],
    built: Built,
    *,
    fail_fast: bool,
    quiet: bool,
    num_workers: int,
    read_frames: ReadFrames,
) -> None:
    flushed = time.monotonic()
    ahead = _read_ahead(todo, read_frames, num_workers)
    for clip, future in command.progress(ahead, "encoding", total=len(todo), quiet=quiet):
        try:
            frames = future.result()
            variants = encoding(clip, frames)
        except (UserError, OSError) as error:
            if fail_fast:
                raise
            built.problems[clip.id] = " ".join(str(error).split())
            continue
        for variant, features in enumerate(variants):
            shards.add(clip, variant, features, num_frames=len(frames))
        built.num_done += 1
        built.num_frames += len(frames) * len(variants)
        if time.monotonic() - flushed > FLUSH_SECONDS:
            shards.flush()
            flushed = time.monotonic()


def _read_ahead(
    clips: Sequence[Clip], read_frames: ReadFrames, num_workers: int
) -> Iterator[tuple[Clip, Future[NDArray[np.uint8]]]]:
    """Clips in order, the next ones being decoded meanwhile; at most `num_workers` + 1 are in memory."""
    waiting: deque[tuple[Clip, Future[NDArray[np.uint8]]]] = deque()
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        for clip in clips:
            waiting.append((clip, pool.submit(read_frames, clip)))
            if len(waiting) > num_workers:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _reader(encoder: FrameEncoder, rate_hz: float) -> ReadFrames:
    from slr.reading import Needs, read

    needs = Needs("frames", rate_hz, encoder.spec.size_px)

    def read_frames(clip: Clip) -> NDArray[np.uint8]:
        return read(clip.path, needs, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds).inputs

    return read_frames


@dataclass(frozen=True)
class _Encoding:
    """Frames of a clip → features of each variant."""

    encoder: FrameEncoder
    num_variants: int
    flip: float
    device: str

    def __call__(self, clip: Clip, frames: NDArray[np.uint8]) -> list[HalfArray]:
        pixels = torch.from_numpy(frames).to(self.device, non_blocking=True)[None]
        num_frames = torch.tensor([len(frames)], device=self.device)
        half = torch.autocast("cuda", dtype=torch.float16, enabled=self.device.startswith("cuda"))
        results = []
        for variant in range(self.num_variants):
            with torch.inference_mode(), half:
                shown = pixels if variant == 0 else crop(pixels, clip.id, variant, flip=self.flip)
                features = self.encoder(shown, num_frames).features[0]
            found = features.half().cpu().numpy()
            if not np.isfinite(found).all():
                raise MediaError(clip.path, "its features hold NaN or values beyond float16; leave the clip out")
            if np.abs(found).max() < _LEAST_VALUE:
                raise MediaError(clip.path, "its features vanish in half precision; the encoder has no usable weights")
            results.append(found)
        return results


def crop(frames: Tensor, clip_id: str, variant: int, *, flip: float) -> Tensor:
    """One crop for the whole clip, chosen by its id and the variant alone.

    Args:
        frames: (1, T, 3, H, W) uint8.
        clip_id: of the clip.
        variant: at least 1.
        flip: probability of mirroring.

    Returns:
        (1, T, 3, H', W') uint8, at least 0.7 of the area.
    """
    seed = hashlib.sha256(f"{variant} {clip_id}".encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    area, aspect = rng.uniform(_LEAST_AREA, 1), math.exp(rng.uniform(*np.log(_ASPECT)))
    height, width = frames.shape[3:]
    tall = min(height, max(1, round(height * math.sqrt(area / aspect))))
    wide = min(width, max(1, round(width * math.sqrt(area * aspect))))
    top, left = (round(rng.uniform(0, full - part)) for full, part in ((height, tall), (width, wide)))
    part = frames[..., top : top + tall, left : left + wide]
    return part.flip(-1) if rng.uniform() < flip else part
