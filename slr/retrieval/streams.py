"""What the video tower reads of a clip: cached window features, one stream or several, each maybe fused from two."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError, ConfigError, UserError
from signwave.manifest import Clip
from slr.features.cache import FeatureCache
from slr.features.windows import SlidingWindows, even
from slr.spotting.fusion import fuse

FloatArray = NDArray[np.float32]
MAX_DIFFERENCE = 2
"""Windows by which two streams of a clip may differ: keypoints often miss a video's last frame."""


@dataclass
class StreamConfig:
    """One stream of window features."""

    features_dir: str = ""
    """Cache that `slr features --window` made."""
    aware_dir: str = ""
    """Cache of the domain-aware encoder, of the same windows; "" uses the first alone."""
    alpha: float = 0.8
    """Weight of the first cache where there are two. CiCo: 0.8, on PHOENIX-2014T 0.9."""
    fusion: str = "mix"
    """mix, or concatenate."""

    def __post_init__(self) -> None:
        if self.fusion not in ("mix", "concatenate") or not 0 <= self.alpha <= 1:
            raise ConfigError(
                f"stream: fusion={self.fusion}, alpha={self.alpha}: allowed are mix and concatenate, and 0 to 1"
            )


class Stream(NamedTuple):
    """A stream whose caches are open.

    caches: the domain-agnostic encoder's, and the domain-aware one's where there is one.
    """

    name: str
    caches: tuple[FeatureCache, ...]
    alpha: float
    fusion: str

    @property
    def dim(self) -> int:
        """Width of its features."""
        return self.caches[0].dim * (len(self.caches) if self.fusion == "concatenate" else 1)

    @property
    def windows(self) -> SlidingWindows:
        """How its windows lie."""
        windows = self.caches[0].windows
        if windows is None:
            raise ArtefactError(
                f"{self.caches[0].folder}: holds no windows; make it with `slr features … --window 16 --stride 1`"
            )
        return windows

    def read(self, clip: Clip) -> FloatArray | None:
        """(M, dim) float32, None where the clip isn't in every cache of the stream.

        Raises:
            UserError: the caches hold another number of windows of the clip.
        """
        if any(clip.id not in cache for cache in self.caches):
            return None
        parts = [np.asarray(cache.get(clip), dtype=np.float32) for cache in self.caches]
        return fuse_parts(parts, alpha=self.alpha, fusion=self.fusion)


def fuse_parts(parts: Sequence[FloatArray], *, alpha: float, fusion: str) -> FloatArray:
    """One stream (M, dim) float32 out of the features of its one or two encoders."""
    mode: Any = fusion
    return parts[0] if len(parts) == 1 else fuse(*parts, alpha=alpha, mode=mode)


class Streams:
    """Reads clips as `WindowTower` wants them.

    Args:
        streams: in the tower's order; at least one.
        max_tokens: windows of a clip at most, spread evenly over it.
    """

    def __init__(self, streams: Sequence[Stream], *, max_tokens: int) -> None:
        if not streams:
            raise ConfigError("data.streams is empty; name a cache: data.streams.rgb.features_dir=FOLDER")
        self.streams, self.max_tokens = tuple(streams), max_tokens
        self.dims = [stream.dim for stream in streams]

    @classmethod
    def open(cls, configs: Mapping[str, StreamConfig], *, max_tokens: int) -> "Streams":
        """Open the caches of a recipe.

        Raises:
            ConfigError: a stream names no cache, or two caches of a stream were made with other windows.
            ArtefactError: a cache isn't complete.
        """
        return cls([_open(name, config) for name, config in configs.items()], max_tokens=max_tokens)

    def info(self) -> dict[str, Any]:
        """Plain facts for a bundle: names, widths and fusion of the streams, their windows and frame rates."""
        return {
            "streams": [
                {
                    "name": stream.name,
                    "dim": stream.dim,
                    "alpha": stream.alpha,
                    "fusion": stream.fusion,
                    "rate_hz": stream.caches[0].header.rate_hz,
                    "encoder_digests": [cache.header.encoder_digest for cache in stream.caches],
                    "windows": dataclasses.asdict(stream.windows),
                }
                for stream in self.streams
            ]
        }

    def has(self, clip: Clip) -> bool:
        """Whether some stream has the clip."""
        return any(all(clip.id in cache for cache in stream.caches) for stream in self.streams)

    def problem(self, clip: Clip) -> str:
        """Why a clip has no features."""
        reasons = [cache.problems[clip.id] for s in self.streams for cache in s.caches if clip.id in cache.problems]
        return reasons[0] if reasons else "no cache holds it"

    def read(self, clip: Clip) -> FloatArray:
        """(M, sum of dims) float32, M at most max_tokens; a stream that the clip lacks is zero.

        Raises:
            UserError: no stream has the clip, or its streams differ in length by more than MAX_DIFFERENCE windows.
        """
        found = [stream.read(clip) for stream in self.streams]
        return join_streams(found, self.dims, max_tokens=self.max_tokens, clip_id=clip.id)


def join_streams(
    found: Sequence[FloatArray | None], dims: Sequence[int], *, max_tokens: int, clip_id: str
) -> FloatArray:
    """Put the streams of a clip beside each other.

    Args:
        found: (M, D) float32 of each stream, or None.
        dims: width of each stream.
        max_tokens: windows that are kept, spread evenly.
        clip_id: for messages.
    """
    sizes = [len(part) for part in found if part is not None]
    if not sizes:
        raise UserError(f"'{clip_id}' has no features in any stream; encode it with `slr features`")
    if max(sizes) - min(sizes) > MAX_DIFFERENCE:
        raise UserError(
            f"'{clip_id}' has {' and '.join(map(str, sizes))} windows in its streams, which must be of one clip; "
            "encode both at the same rate, window and stride"
        )
    size = min(sizes)
    parts = [np.zeros((size, dim), dtype=np.float32) if p is None else p[:size] for p, dim in zip(found, dims)]
    joined = np.concatenate(parts, axis=1)
    return np.ascontiguousarray(joined[even(size, max_tokens)])


def _open(name: str, config: StreamConfig) -> Stream:
    if not config.features_dir:
        raise ConfigError(f"data.streams.{name}.features_dir is empty; give a cache that `slr features` made")
    folders = [Path(folder) for folder in (config.features_dir, config.aware_dir) if folder]
    caches = tuple(FeatureCache.open(folder) for folder in folders)
    stream = Stream(name, caches, config.alpha, config.fusion)
    if len(caches) == 2 and caches[1].windows != stream.windows:
        raise ConfigError(
            f"data.streams.{name}: {folders[0]} and {folders[1]} were made with other windows; make both with the same "
            "--window, --stride and --most"
        )
    return stream
