"""Filling a feature cache: clips are decoded ahead in threads, encoded one by one, and written shard by shard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from signwave import command
from signwave.errors import MediaError, UserError
from signwave.index.lock import exclusive
from signwave.manifest import Clip
from signwave.rundir import sweep_temporaries
from slr.features.cache import FeatureCache
from slr.features.encoders import FrameEncoder
from slr.features.encoding import Encoding, Variants, encoding_of
from slr.features.shards import Shards, check_ids
from slr.features.window_encoders import WindowEncoder
from slr.features.windows import SlidingWindows
from slr.reading import Needs, Reading

ReadFrames = Callable[[Clip], NDArray[Any] | Reading]

SHARD_BYTES = 64 * 2**20
FLUSH_SECONDS = 120.0
"""A killed run loses at most this much work, or a shard's."""


@dataclass
class Built:
    """What `build` did.

    Attributes:
        num_done: clips encoded now.
        num_skipped: clips that were there already.
        problems: clip → why it couldn't be encoded.
        seconds: time spent.
        num_frames: of the clips encoded now, variants counted.
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
    encoder: FrameEncoder | WindowEncoder,
    folder: str | Path,
    *,
    windows: SlidingWindows | None = None,
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
        windows: which windows of a clip a `WindowEncoder` encodes; by default at most 64, of stride 1.
        rate_hz: frames a second that clips are brought to.
        num_variants: 1, or more: the others show random crops of the pictures, chosen by clip id and variant.
        flip: share of these crops that are mirrored. Many signs say something else with the other hand.
        device: cpu, cuda or cuda:N.
        read_frames: gives what the encoder reads of a clip, (T, …); by default `slr.reading.read` at its size.
        num_workers: clips decoded ahead, each in a thread.
        fail_fast: raise at the first clip that can't be used.
        quiet: no progress on stderr.
        shard_bytes: features held in memory before they are written.

    Raises:
        ArtefactError: the folder holds other features, or another process writes there.
        ConfigError: the encoder can't look at such windows, or at crops.
        ManifestError: an id occurs twice.
        UserError: with `fail_fast`, that of the clip.
    """
    folder, wanted = Path(folder), check_ids(clips)
    encoding = encoding_of(encoder, windows, rate_hz=rate_hz, variants=Variants(num_variants, flip), device=device)
    folder.mkdir(parents=True, exist_ok=True)
    started, built = time.monotonic(), Built()
    with exclusive(folder):
        sweep_temporaries(folder)
        shards = Shards(folder, encoding.header, max_bytes=shard_bytes)
        cache = FeatureCache.open(folder, partial=True)
        todo = [clip for clip in wanted if not cache.has(clip)]
        built.num_skipped = len(wanted) - len(todo)
        problems = shards.begin()
        try:
            _fill(shards, encoding, todo, built, fail_fast=fail_fast, quiet=quiet, num_workers=num_workers,
                  read_frames=read_frames or _reader(encoding.needs))  # fmt: skip
        finally:
            shards.flush()  # an interrupted run keeps what it has done
        kept = {name: reason for name, reason in problems.items() if name not in {clip.id for clip in wanted}}
        shards.finish(kept | built.problems)
    built.seconds = time.monotonic() - started
    return built


def _fill(
    shards: Shards,
    encoding: Encoding,
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
            reading = _whole(clip, future.result())
            variants = encoding(clip, reading)
        except (UserError, OSError) as error:
            if fail_fast:
                raise
            built.problems[clip.id] = " ".join(str(error).split())
            continue
        for variant, features in enumerate(variants):
            shards.add(clip, variant, features, num_frames=len(reading.inputs))
        built.num_done += 1
        built.num_frames += len(reading.inputs) * len(variants)
        if time.monotonic() - flushed > FLUSH_SECONDS:
            shards.flush()
            flushed = time.monotonic()


def _read_ahead(
    clips: Sequence[Clip], read_frames: ReadFrames, num_workers: int
) -> Iterator[tuple[Clip, Future[NDArray[Any] | Reading]]]:
    """Clips in order, the next ones being decoded meanwhile; at most `num_workers` + 1 are in memory."""
    waiting: deque[tuple[Clip, Future[NDArray[Any] | Reading]]] = deque()
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        for clip in clips:
            waiting.append((clip, pool.submit(read_frames, clip)))
            if len(waiting) > num_workers:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _reader(needs: Needs) -> ReadFrames:
    from slr.reading import read

    def read_frames(clip: Clip) -> Reading:
        return read(
            clip.path, needs, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds, poses_path=clip.poses_path
        )

    return read_frames


def _whole(clip: Clip, found: NDArray[Any] | Reading) -> Reading:
    """What was read, which may be the inputs alone.

    Raises:
        MediaError: it holds no frame.
    """
    reading = found if isinstance(found, Reading) else Reading(found, None, 0.0)
    if not len(reading.inputs):
        raise MediaError(clip.path, "has no frame in its span; prepare the corpus again", kind="empty")
    return reading
